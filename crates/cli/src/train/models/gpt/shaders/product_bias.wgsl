// What a linear layer with a bias puts out, added to the residual stream if RESIDUAL.
//
// Bindings (group 0):
//   1 a          f32
//   2 weight     the optimizer's parameter
//   3 bias       the optimizer's parameter, for each column of c
//   4 residual   f32, as c
//   5 c          f32 (out)
//
// Joined with a codec of the parameters, which says what a word of four is.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<ParamWord>;
@group(0) @binding(3) var<storage, read> bias: array<ParamWord>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;

override RESIDUAL: bool = false;

fn load_a(word: u32) -> vec4<f32> {
    return a[word];
}

fn load_b(word: u32) -> vec4<f32> {
    return decode_param(weight[word]);
}

fn store(word: u32, column: u32, value: vec4<f32>) {
    var sum = value + decode_param(bias[column]);
    if (RESIDUAL) {
        sum += residual[word];
    }
    c[word] = sum;
}
