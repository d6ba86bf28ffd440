// Advance: one lane for each tensor counts its step and writes the record that the update reads.
//
//   step                   <- step + 1, if the tensor has a gradient and the step is not skipped
//   step_size              <- lr / (1 - beta1^step)
//   bias_correction2_rsqrt <- 1 / sqrt(1 - beta2^step)
//
// with 1 - beta^t = -expm1(t ln beta), ln beta from the host in f64: within a relative 5e-7 for
// every t up to 2^24 and beta up to 0.9999. (Bias correction: Kingma and Ba 2015, section 3; a
// counter for each tensor, as torch keeps it, so that a tensor without a gradient stays behind.)
//
// Joined with: shared/{tensor,placement,step_input,decision,expm1}.wgsl.
//
// Bindings (group 0):
//   0 step_input   what this step brings: learning rate and decay of each tensor, and more
//   1 absent       one bit for each tensor: no gradient in this step
//   2 groups       constants of each group
//   3 placements   what is known of each tensor once and for all
//   4 decision     from control/decide.wgsl; what it is at first, if nothing is to be decided
//   5 steps        the step counters
//   6 tensors      the records (out)

struct Group {
    // ln of beta, at least -10000; that is as good as beta = 0 and means: no bias correction.
    ln_beta1: f32,
    ln_beta2: f32,
    // -1 to maximize, else 1.
    grad_sign: f32,
    hyper: u32,
    clip_value: f32,
    seed: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> absent: array<u32>;
@group(0) @binding(2) var<storage, read> groups: array<Group>;
@group(0) @binding(3) var<storage, read> placements: array<Placement>;
@group(0) @binding(4) var<storage, read> decision: Decision;
@group(0) @binding(5) var<storage, read_write> steps: array<u32>;
@group(0) @binding(6) var<storage, read_write> tensors: array<Tensor>;

override ROW_WORKGROUPS: u32 = 32768u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * 64u + lane;
    if (index >= arrayLength(&placements)) {
        return;
    }
    let is_absent = ((absent[index / 32u] >> (index % 32u)) & 1u) != 0u;
    let is_stepped = !is_absent && decision.skipped == 0u;
    let step = steps[index] + select(0u, 1u, is_stepped);
    steps[index] = step;

    let placement = placements[index];
    let group = groups[placement.group];
    let rate = step_input.rates[index];
    // A record is whole also where nothing is stored, since lanes still load; t is then of no matter.
    let t = f32(max(step, 1u));
    tensors[index] = Tensor(
        rate.lr / -expm1(t * group.ln_beta1),
        inverseSqrt(-expm1(t * group.ln_beta2)),
        rate.decay,
        group.grad_sign * decision.unscale,
        decision.norms[placement.group + 1u].clip_factor * step_input.grad_factor,
        select(0u, step, is_stepped),
        select(step_input.zero_grads, 0u, is_absent),
        group.clip_value,
        placement.len_vec4,
        placement.tail_elems,
        placement.first_vec4,
        group.hyper,
        placement.number,
        group.seed,
        placement.whole_vec4,
        0u,
    );
}
