// Finish: adds up what a rule wanted summed over each tensor, and lets it decide by that.
//
//   sum            <- sum of the sums of the tensor's tiles, and the number of its elements
//   record.scalars <- decide(sum, record.scalars, kept, hyper)
//
// If the rule's sums go over many tensors (JOINT), the tensor's is left in the place of its first tile's, for
// control/gather.wgsl.
//
// A workgroup for each tensor, a dispatch for each rule that reduces; tensors of others are left alone. The order of the sums
// is fixed: runs of 16, then the runs of a column, then columns, so that rounding grows with these and not with all tiles.
//
// Joined with: a rule (StepHyper, Scalars, decide), and all that it is joined with in an update;
// structs/{tensor,placement,group}.wgsl.
//
// Bindings (group 0):
//   0 groups       constants of each group
//   1 placements   what is known of each tensor once and for all
//   2 sums         of each tile: from frames/reduce.wgsl (in and out)
//   3 tensors      the records (in and out)
//   4 kept         the scalars that rules keep

@group(0) @binding(0) var<storage, read> groups: array<Group>;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> tensors: array<Tensor>;
@group(0) @binding(4) var<storage, read> kept_scalars: array<vec4<f32>>;

override ROW_WORKGROUPS: u32 = 32768u;
override WORKGROUP_SIZE: u32 = 256u;
// The rule's number among those of the optimizer.
override RULE: u32 = 0u;
override JOINT: bool = false;

// Every so many tiles are of a column, however many lanes a workgroup has: so that the order of sums is the same.
const COLUMNS: u32 = 256u;
const RUN: u32 = 16u;

var<workgroup> of_columns: array<vec4<f32>, 256>;
var<workgroup> of_runs: array<vec4<f32>, 16>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    if (index >= arrayLength(&placements)) {
        return;
    }
    let placement = placements[index];
    let group = groups[placement.group];
    if (placement.rule != RULE) {
        return;
    }
    let tiles = (placement.len_vec4 + min(placement.tail_elems, 1u) + 63u) / 64u;
    for (var column = lane; column < COLUMNS; column += WORKGROUP_SIZE) {
        var total = vec4<f32>();
        for (var first = column; first < tiles; first += RUN * COLUMNS) {
            var of_run = vec4<f32>();
            let end = min(tiles, first + RUN * COLUMNS);
            for (var tile = first; tile < end; tile += COLUMNS) {
                of_run += sums[placement.first_sum + tile];
            }
            total += of_run;
        }
        of_columns[column] = total;
    }
    workgroupBarrier();
    if (lane < COLUMNS / RUN) {
        var of_run = vec4<f32>();
        for (var i = 0u; i < RUN; i++) {
            of_run += of_columns[lane * RUN + i];
        }
        of_runs[lane] = of_run;
    }
    workgroupBarrier();
    if (lane == 0u) {
        var all = vec4<f32>();
        for (var i = 0u; i < COLUMNS / RUN; i++) {
            all += of_runs[i];
        }
        all.w = f32(placement.len_vec4) * 4.0 + f32(placement.tail_elems);
        if (JOINT && tiles != 0u) {
            sums[placement.first_sum] = all;
        } else if (!JOINT) {
            let kept = Kept(kept_scalars[index], kept_scalars[arrayLength(&placements) + group.joint]);
            tensors[index].scalars = decide(all, tensors[index].scalars, kept, group.step_hyper);
        }
    }
}
