// A product with a weight: what a linear layer puts out, or the gradient of its input.
//
// Bindings (group 0):
//   1 a          f32
//   2 weight     the optimizer's parameter
//   3 c          f32 (out)
//
// Joined with a codec of the parameters, which says what a word of four is.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<ParamWord>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

fn load_a(word: u32) -> vec4<f32> {
    return a[word];
}

fn load_b(word: u32) -> vec4<f32> {
    return decode_param(weight[word]);
}

fn store(word: u32, column: u32, value: vec4<f32>) {
    c[word] = value;
}
