// The per-tensor baseline: one dispatch of a fused kernel for each tensor.
//
//   RULE 0, AdamW:  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//                   p = decay p - step_size m / (sqrt(v) bias_correction2_rsqrt + eps)
//   RULE 1, SGD:    m = beta1 m + g;  p = p - step_size m
//   RULE 2, Lion:   p = decay p - step_size sign(beta1 m + (1 - beta1) g)
//                   m = beta2 m + (1 - beta2) g
//
// Bindings (group 0): 0 scalars of this step, 1 grad, 2 param, 3 slot0 (m), 4 slot1 (v, a dummy for
// rules other than AdamW). All but a dummy have the same length: that of a window of the tensor.
//
// Invariants: one vec4 for each lane; buffers are padded to whole vec4s.

override WORKGROUP_SIZE: u32 = 256u;
override ROW_WORKGROUPS: u32 = 32768u;
override RULE: u32 = 0u;

struct Scalars {
    decay: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    step_size: f32,
    bias_correction2_rsqrt: f32,
    lr: f32,
}

@group(0) @binding(0) var<uniform> scalars: Scalars;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> slot0: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> slot1: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * WORKGROUP_SIZE + lane;
    if (i >= arrayLength(&param)) {
        return;
    }
    let g = grad[i];
    let s = scalars;
    if (RULE == 0u) {
        let m = s.beta1 * slot0[i] + s.one_minus_beta1 * g;
        let v = s.beta2 * slot1[i] + s.one_minus_beta2 * g * g;
        let denominator = sqrt(v) * s.bias_correction2_rsqrt + s.eps;
        param[i] = s.decay * param[i] - s.step_size * m / denominator;
        slot0[i] = m;
        slot1[i] = v;
    } else if (RULE == 1u) {
        let m = s.beta1 * slot0[i] + g;
        param[i] = param[i] - s.step_size * m;
        slot0[i] = m;
    } else {
        let direction = sign(s.beta1 * slot0[i] + s.one_minus_beta1 * g);
        param[i] = s.decay * param[i] - s.step_size * direction;
        slot0[i] = s.beta2 * slot0[i] + s.one_minus_beta2 * g;
    }
}
