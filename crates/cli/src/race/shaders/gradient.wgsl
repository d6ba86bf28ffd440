// The gradient of a landscape where each racer is. Joined with the landscape's file, which declares
// `fn gradient(x: f32, y: f32) -> vec2<f32>`.
//
//   grads[i].xy = ∇f(params[i].xy)
//
// One lane a racer; tensors of two elements, each from a multiple of 16 bytes on.

@group(0) @binding(0) var<storage, read> params: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> grads: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let racer = id.x;
    if (racer < arrayLength(&params)) {
        grads[racer] = vec4<f32>(gradient(params[racer].x, params[racer].y), 0.0, 0.0);
    }
}
