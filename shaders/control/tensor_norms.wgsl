// Tensor norms: what a monitored step tells of each tensor.
//
//   update_norm <- sqrt(sum of (param after - param before)^2),  weight_norm <- sqrt(sum of (param before)^2)
//   grad_norm   <- sqrt(total) / loss scale * grad_factor
//
// A workgroup for each tensor. The sums of its tiles come from functions/update_sums.wgsl; a tensor that does not take
// the step has none. Their order is that of control/finish.wgsl: columns of tiles, runs of 16 of a column, then runs of
// 16 columns, whatever the workgroup's size. They are left in the place of the first tile's, for
// control/group_norms.wgsl.
//
// Joined with: structs/{tensor,placement,step_input,decision,total,monitored}.wgsl, functions/norm.wgsl.
//
// Bindings (group 0):
//   0 step_input   which entry is this step's
//   1 placements   what is known of each tensor once and for all
//   2 tensors      the records
//   3 decision     the loss scale
//   4 totals       of each tensor: from control/total.wgsl; without PER_TENSOR anything
//   5 sums         of each tile (in and out)
//   6 entries      for reports (out)

struct Scalars {
    padding0: vec4<f32>,
}

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> tensors: array<Tensor>;
@group(0) @binding(3) var<storage, read> decision: Decision;
@group(0) @binding(4) var<storage, read> totals: array<Total>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> entries: array<vec4<u32>>;

override ROW_WORKGROUPS: u32 = 32768u;
override WORKGROUP_SIZE: u32 = 256u;
// Whether tensors are told, or only groups.
override PER_TENSOR: bool = false;

const COLUMNS: u32 = 256u;
const RUN: u32 = 16u;

var<workgroup> of_columns: array<vec2<f32>, 256>;
var<workgroup> of_runs: array<vec2<f32>, 16>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (index >= arrayLength(&placements)) {
        return;
    }
    let placement = placements[index];
    let tiles = (placement.len_vec4 + min(placement.tail_elems, 1u) + 63u) / 64u;
    let counted = select(0u, tiles, tensors[index].step != 0u);
    for (var column = lane; column < COLUMNS; column += WORKGROUP_SIZE) {
        var sum = vec2<f32>();
        for (var first = column; first < counted; first += RUN * COLUMNS) {
            var of_run = vec2<f32>();
            for (var tile = first; tile < min(counted, first + RUN * COLUMNS); tile += COLUMNS) {
                of_run += sums[placement.first_sum + tile].xy;
            }
            sum += of_run;
        }
        of_columns[column] = sum;
    }
    workgroupBarrier();
    if (lane < COLUMNS / RUN) {
        var sum = vec2<f32>();
        for (var i = lane * RUN; i < (lane + 1u) * RUN; i++) {
            sum += of_columns[i];
        }
        of_runs[lane] = sum;
    }
    workgroupBarrier();
    if (lane == 0u && tiles != 0u) {
        var sum = vec2<f32>();
        for (var i = 0u; i < COLUMNS / RUN; i++) {
            sum += of_runs[i];
        }
        sums[placement.first_sum] = vec4<f32>(sum, 0.0, 0.0);
        if (PER_TENSOR) {
            let grad_norm = norm_of(totals[index], decision.unscale, step_input.grad_factor);
            // The number of the step, and the groups: as many rows as there are norms.
            let before = arrayLength(&decision.norms);
            let first = (step_input.monitored - 1u) * (before + arrayLength(&placements));
            entries[first + before + index] = row_of(grad_norm, sqrt(sum.x), sqrt(sum.y), step_input.rates[index]);
        }
    }
}
