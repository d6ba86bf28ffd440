// Layer norm.
//
//   mean, variance of x[row];  rstd = 1 / sqrt(variance + 1e-5)
//   y[row] <- (x[row] - mean) * rstd * weight + bias
//
// Ba, Kiros and Hinton, *Layer Normalization* (2016); torch.nn.LayerNorm. One lane for each row.
//
// Bindings (group 0):
//   0 x         [rows, WORDS words]
//   1 weight, 2 bias   the optimizer's parameters
//   3 y         as x (out)
//   4 moments   mean and rstd of each row (out)
//
// Joined with a codec of the parameters, which says what a word of four is.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<ParamWord>;
@group(0) @binding(2) var<storage, read> bias: array<ParamWord>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> moments: array<vec2<f32>>;

override WORDS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * WORDS;
    if (first >= arrayLength(&x)) {
        return;
    }
    var sum = vec4<f32>();
    for (var word = 0u; word < WORDS; word++) {
        sum += x[first + word];
    }
    let width = f32(4u * WORDS);
    let mean = dot(sum, vec4<f32>(1.0)) / width;
    var squares = 0.0;
    for (var word = 0u; word < WORDS; word++) {
        let centered = x[first + word] - mean;
        squares += dot(centered, centered);
    }
    let rstd = inverseSqrt(squares / width + 1e-5);
    for (var word = 0u; word < WORDS; word++) {
        let normal = (x[first + word] - mean) * rstd;
        y[first + word] = normal * decode_param(weight[word]) + decode_param(bias[word]);
    }
    moments[id.x] = vec2<f32>(mean, rstd);
}
