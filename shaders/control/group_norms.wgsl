// Group norms: what a monitored step tells of each group.
//
//   update_norm <- sqrt(sum of (param after - param before)^2),  weight_norm <- sqrt(sum of (param before)^2)
//   grad_norm   <- that by which control/decide.wgsl clips;  lr <- the largest of its tensors
//
// A workgroup for each group; the first also writes the step's number. The order of sums is that of
// control/gather.wgsl: columns of tensors, then runs of 16 columns.
//
// Joined with: structs/{placement,step_input,decision,monitored}.wgsl.
//
// Bindings (group 0):
//   0 step_input   which entry is this step's
//   1 placements   what is known of each tensor once and for all
//   2 decision     the step, and the norms of gradients
//   3 sums         of each tensor, in the place of its first tile: from control/tensor_norms.wgsl
//   4 entries      for reports (out)

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> decision: Decision;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> entries: array<vec4<u32>>;

override ROW_WORKGROUPS: u32 = 32768u;
override WORKGROUP_SIZE: u32 = 256u;
// Whether rows of tensors come behind those of groups.
override PER_TENSOR: bool = false;

const COLUMNS: u32 = 256u;
const RUN: u32 = 16u;

var<workgroup> of_columns: array<vec2<f32>, 256>;
var<workgroup> rates: array<f32, 256>;
var<workgroup> of_runs: array<vec2<f32>, 16>;
var<workgroup> rates_of_runs: array<f32, 16>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    let norms = arrayLength(&decision.norms);
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (group + 1u >= norms) {
        return;
    }
    let tensors = arrayLength(&placements);
    for (var column = lane; column < COLUMNS; column += WORKGROUP_SIZE) {
        var sum = vec2<f32>();
        var rate = 0.0;
        for (var index = column; index < tensors; index += COLUMNS) {
            let placement = placements[index];
            let is_empty = placement.len_vec4 + placement.tail_elems == 0u;
            if (placement.group == group && !is_empty) {
                sum += sums[placement.first_sum].xy;
                rate = max(rate, step_input.rates[index]);
            }
        }
        of_columns[column] = sum;
        rates[column] = rate;
    }
    workgroupBarrier();
    if (lane < COLUMNS / RUN) {
        var sum = vec2<f32>();
        var rate = 0.0;
        for (var i = lane * RUN; i < (lane + 1u) * RUN; i++) {
            sum += of_columns[i];
            rate = max(rate, rates[i]);
        }
        of_runs[lane] = sum;
        rates_of_runs[lane] = rate;
    }
    workgroupBarrier();
    if (lane == 0u) {
        var sum = vec2<f32>();
        var rate = 0.0;
        for (var i = 0u; i < COLUMNS / RUN; i++) {
            sum += of_runs[i];
            rate = max(rate, rates_of_runs[i]);
        }
        let first = (step_input.monitored - 1u) * (norms + select(0u, tensors, PER_TENSOR));
        if (group == 0u) {
            entries[first] = vec4<u32>(decision.step, 0u, 0u, 0u);
        }
        let grad_norm = bitcast<u32>(decision.norms[group + 1u].norm);
        entries[first + 1u + group] = row_of(grad_norm, sqrt(sum.x), sqrt(sum.y), rate);
    }
}
