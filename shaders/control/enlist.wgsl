// Enlist: one lane for each tensor writes its record for a pass outside of a step, in which no step is counted.
//
// Tensors without part in it (by their bit, or with fewer steps than FROM_STEP) get step 0, and stay as they are. Of the
// others it is the complement of their number of steps: never 0, and other random bits for rounding than any
// step has. The factor of the input is the gradient's; clipping and the loss scale play no part.
//
// Joined with: structs/{tensor,placement,group,step_input}.wgsl.
//
// Bindings (group 0):
//   0 step_input   the factor
//   1 absent       one bit for each tensor: no part in this pass
//   2 groups       constants of each group
//   3 placements   what is known of each tensor once and for all
//   4 steps        the step counters
//   5 tensors      the records (out)

struct Scalars {
    padding0: vec4<f32>,
}

struct StepHyper {
    padding0: vec4<f32>,
    padding1: vec4<f32>,
}

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> absent: array<u32>;
@group(0) @binding(2) var<storage, read> groups: array<Group>;
@group(0) @binding(3) var<storage, read> placements: array<Placement>;
@group(0) @binding(4) var<storage, read> steps: array<u32>;
@group(0) @binding(5) var<storage, read_write> tensors: array<Tensor>;

override ROW_WORKGROUPS: u32 = 32768u;
override FROM_STEP: u32 = 0u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * 64u + lane;
    if (index >= arrayLength(&placements)) {
        return;
    }
    let placement = placements[index];
    let is_absent = ((absent[index / 32u] >> (index % 32u)) & 1u) != 0u;
    let takes_part = !is_absent && steps[index] >= FROM_STEP;
    var record = Tensor();
    record.grad_scale = step_input.grad_factor;
    record.clip_factor = 1.0;
    record.step = select(0u, ~steps[index], takes_part);
    record.first_vec4 = placement.first_vec4;
    record.len_vec4 = placement.len_vec4;
    record.tail_elems = placement.tail_elems;
    record.hyper = groups[placement.group].hyper;
    record.number = placement.number;
    record.whole_vec4 = placement.whole_vec4;
    tensors[index] = record;
}
