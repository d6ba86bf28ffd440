// GELU, as GPT-2 has it.
//
//   y <- x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³)))
//
// Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016); torch.nn.GELU(approximate="tanh").
// One lane for four consecutive elements.
//
// Bindings (group 0):
//   0 x   f32
//   1 y   as x (out)
//
// Joined with gelu_tanh.wgsl.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

override ROW_LANES: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.y * ROW_LANES + id.x;
    if (at < arrayLength(&x)) {
        y[at] = 0.5 * x[at] * (1.0 + gelu_tanh(x[at]));
    }
}
