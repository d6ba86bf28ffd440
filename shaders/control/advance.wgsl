// Advance: one lane for each tensor counts its step and writes the record that the update reads.
//
//   step           <- step + 1, if the tensor has a gradient and the step is not skipped
//   kept.tensor    <- keep(step, lr, kept, hyper), then too
//   record.scalars <- scalars(step, lr, kept, hyper)
//   record.average_weight <- 1 in the step average_start; then, in every step that is average_every behind one,
//                            max(average_weight, average_ramp / (averages before + average_offset))
//
// A dispatch for each rule, over all tensors: others' are left alone. (A counter for each tensor, as torch
// keeps it, so that a tensor without a gradient stays behind.)
//
// Joined with: a rule (StepHyper, Scalars, scalars, keep), and all that it is joined with in an update;
// structs/{tensor,placement,group,step_input,decision}.wgsl, functions/expm1.wgsl.
//
// Bindings (group 0):
//   0 step_input   what this step brings: the learning rate of each tensor, and more
//   1 absent       one bit for each tensor: no gradient in this step
//   2 groups       constants of each group
//   3 placements   what is known of each tensor once and for all
//   4 decision     from control/decide.wgsl; what it was before, if nothing is to be decided (in and out)
//   5 steps        the step counters
//   6 kept         the scalars that rules keep: of each tensor, then what tensors have in common
//   7 tensors      the records (out)

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> absent: array<u32>;
@group(0) @binding(2) var<storage, read> groups: array<Group>;
@group(0) @binding(3) var<storage, read> placements: array<Placement>;
@group(0) @binding(4) var<storage, read_write> decision: Decision;
@group(0) @binding(5) var<storage, read_write> steps: array<u32>;
@group(0) @binding(6) var<storage, read_write> kept_scalars: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> tensors: array<Tensor>;

override ROW_WORKGROUPS: u32 = 32768u;
// The rule's number among those of the optimizer.
override RULE: u32 = 0u;
// Whether it counts; else a record tells whether a tensor has something to be evaluated at, for frames/exchange.wgsl:
// its step is 0 if not.
override COUNTS: bool = true;
// Whether what the rule keeps goes on in a step in which the tensor has no gradient.
override KEEPS_WITHOUT_GRAD: bool = false;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * 64u + lane;
    if (index >= arrayLength(&placements)) {
        return;
    }
    // The optimizer's own steps are counted where something is decided, or else here: by one lane of the first rule.
    if (index == 0u && RULE == 0u && COUNTS && step_input.decides == 0u) {
        decision.step += 1u;
    }
    let placement = placements[index];
    let group = groups[placement.group];
    if (placement.rule != RULE) {
        return;
    }
    let is_absent = ((absent[index / 32u] >> (index % 32u)) & 1u) != 0u;
    let is_stepped = COUNTS && !is_absent && decision.skipped == 0u;
    let step = steps[index] + select(0u, 1u, is_stepped);
    let is_evaluated = !COUNTS && !is_absent && step >= group.average_start;
    // A record is whole also where nothing is stored, since lanes still load; t is then of no matter.
    let t = f32(max(step, 1u));
    let lr = step_input.rates[index];
    let joint = kept_scalars[arrayLength(&placements) + group.joint];
    var kept = Kept(kept_scalars[index], joint);
    if (is_stepped || (KEEPS_WITHOUT_GRAD && COUNTS && decision.skipped == 0u)) {
        kept.tensor = keep(t, lr, kept, group.step_hyper);
        kept_scalars[index] = kept.tensor;
    }
    if (is_stepped) {
        steps[index] = step;
    }
    tensors[index] = Tensor(
        scalars(t, lr, kept, group.step_hyper),
        group.grad_sign * decision.unscale,
        decision.norms[placement.group + 1u].clip_factor * step_input.grad_factor,
        select(0u, step, is_stepped || is_evaluated),
        group.update_limit + group.update_limit_of_lr * lr,
        placement.first_vec4,
        placement.len_vec4,
        placement.tail_elems,
        group.hyper | select(0u, ZERO_GRAD, step_input.zero_grads != 0u && !is_absent),
        select(0.0, group.lookahead_alpha, step % max(group.lookahead_k, 1u) == 0u),
        average_weight(step, group),
        placement.number,
        placement.whole_vec4,
    );
}

// (In whole numbers, so that steps beyond 2^24 are told apart.)
fn average_weight(step: u32, group: Group) -> f32 {
    let behind = step - min(step, group.average_start);
    if (step < group.average_start || behind % group.average_every != 0u) {
        return 0.0;
    }
    let before = behind / group.average_every;
    let ramp = group.average_ramp / f32(before + group.average_offset);
    return select(max(group.average_weight, ramp), 1.0, before == 0u);
}
