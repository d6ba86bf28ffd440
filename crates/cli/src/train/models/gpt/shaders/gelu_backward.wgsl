// GELU, backward.
//
//   u = sqrt(2 / pi) * (x + 0.044715 * x³),  t = tanh(u)
//   grad <- grad * (1 + t + x * (1 - t²) * du/dx) / 2
//
// One lane for four consecutive elements.
//
// Bindings (group 0):
//   0 x      f32: what GELU got
//   1 grad   as x: of what it put out, then of what it got (in and out)
//
// Joined with gelu_tanh.wgsl.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<f32>>;

override ROW_LANES: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.y * ROW_LANES + id.x;
    if (at < arrayLength(&x)) {
        let t = gelu_tanh(x[at]);
        let slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x[at] * x[at]);
        grad[at] *= 0.5 * (1.0 + t + x[at] * (1.0 - t * t) * slope);
    }
}
