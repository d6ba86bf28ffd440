// Finish: adds up what a rule wanted summed over each tensor, and lets it decide by that.
//
//   sum            <- sum of the sums of the tensor's tiles, and the number of its elements
//   record.scalars <- decide(sum, record.scalars, kept, hyper)
//   record.direction_scale <- direction_scale(sum, number of elements, record.direction_scale)
//
// If the rule's sums go over many tensors (JOINT), the tensor's is left in the place of its first tile's, for
// control/gather.wgsl.
//
// A workgroup for each tensor, a dispatch for each rule that reduces; tensors of others are left alone. Those of
// more than 1,024 tiles have another, with more lanes (LARGE), if there are any. The order of the sums is a
// tensor's own: columns of tiles, runs of 16 of a column, then runs of 16 columns, so that rounding grows with
// these and not with all tiles. (Measured on Mesa's software driver, where lanes and barriers are what a
// workgroup costs: with 256 lanes for every tensor, LAMB over 1,000 of 16,384 elements takes 1.06 times as long.)
//
// Joined with: a rule (StepHyper, Scalars, decide), and all that it is joined with in an update;
// structs/{tensor,placement,group}.wgsl; functions/as_proposed.wgsl or steering.wgsl.
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

// Whether it finishes large tensors, or the others.
override LARGE: bool = false;

// Columns of tiles, however many lanes a workgroup has.
const SMALL_COLUMNS: u32 = 64u;
const LARGE_COLUMNS: u32 = 256u;
const SMALL_TILES: u32 = 1024u;
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
    let tiles = (placement.len_vec4 + min(placement.tail_elems, 1u) + 63u) / 64u;
    if (placement.rule != RULE || (tiles > SMALL_TILES) != LARGE) {
        return;
    }
    let columns = select(SMALL_COLUMNS, LARGE_COLUMNS, LARGE);
    for (var column = lane; column < columns; column += WORKGROUP_SIZE) {
        var total = vec4<f32>();
        for (var first = column; first < tiles; first += RUN * columns) {
            total += sum_of_run(placement.first_sum, first, min(tiles, first + RUN * columns), columns);
        }
        of_columns[column] = total;
    }
    workgroupBarrier();
    if (lane < columns / RUN) {
        of_runs[lane] = sum_of_columns(lane * RUN);
    }
    workgroupBarrier();
    if (lane == 0u) {
        var all = vec4<f32>();
        for (var i = 0u; i < columns / RUN; i++) {
            all += of_runs[i];
        }
        finish(index, all, tiles);
    }
}

fn sum_of_run(first_sum: u32, first: u32, end: u32, step: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var tile = first; tile < end; tile += step) {
        sum += sums[first_sum + tile];
    }
    return sum;
}

fn sum_of_columns(first: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var i = first; i < first + RUN; i++) {
        sum += of_columns[i];
    }
    return sum;
}

fn finish(index: u32, sum: vec4<f32>, tiles: u32) {
    let placement = placements[index];
    let group = groups[placement.group];
    let count = f32(placement.len_vec4) * 4.0 + f32(placement.tail_elems);
    let all = vec4<f32>(sum.xy, 0.0, count);
    tensors[index].direction_scale = direction_scale(sum, count, tensors[index].direction_scale);
    if (!JOINT) {
        let kept = Kept(kept_scalars[index], kept_scalars[arrayLength(&placements) + group.joint]);
        tensors[index].scalars = decide(all, tensors[index].scalars, kept, group.step_hyper);
    } else if (tiles != 0u) {
        sums[placement.first_sum] = all;
    }
}
