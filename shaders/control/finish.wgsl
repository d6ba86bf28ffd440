// Finish: adds up what a rule wanted summed over each tensor, and lets it decide by that.
//
//   sum            <- sum of the sums of the tensor's tiles, and the number of its elements
//   record.scalars <- decide(sum, record.scalars, kept, hyper)
//
// If the rule's sums go over many tensors (JOINT), the tensor's is left in the place of its first tile's, for
// control/gather.wgsl.
//
// A dispatch for each rule that reduces; tensors of others are left alone. A workgroup has a tensor for every
// 64 lanes, which add up its tiles where these are at most 1,024; of larger ones it takes one after the other
// with all lanes. The order of the sums is a tensor's own: columns of tiles, runs of 16 of a column, then
// runs of 16 columns, so that rounding grows with these and not with all tiles. (Measured on Mesa's software
// driver, where a workgroup's lanes and barriers are what it costs: with a workgroup for each, LAMB over
// 1,000 tensors of 16,384 elements has a roofline of 0.76.)
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

// A large tensor has so many columns however many lanes a workgroup has, a small one a column for each lane.
const COLUMNS: u32 = 256u;
const SMALL_COLUMNS: u32 = 64u;
const SMALL_TILES: u32 = 1024u;
const RUN: u32 = 16u;

var<workgroup> of_columns: array<vec4<f32>, 256>;
var<workgroup> of_runs: array<vec4<f32>, 16>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    let tensors_here = WORKGROUP_SIZE / SMALL_COLUMNS;
    let first = workgroup * tensors_here;
    if (first >= arrayLength(&placements)) {
        return;
    }
    finish_small(first + lane / SMALL_COLUMNS, lane);
    for (var i = 0u; i < tensors_here; i++) {
        let tiles = tiles_of(first + i);
        if (tiles > SMALL_TILES) {
            finish_large(first + i, tiles, lane);
        }
    }
}

// The tiles of a tensor of the rule; of another, or of none, 0.
fn tiles_of(index: u32) -> u32 {
    if (!is_of_rule(index)) {
        return 0u;
    }
    let placement = placements[index];
    return (placement.len_vec4 + min(placement.tail_elems, 1u) + 63u) / 64u;
}

fn is_of_rule(index: u32) -> bool {
    return index < arrayLength(&placements) && placements[index].rule == RULE;
}

// Every 64 lanes a tensor.
fn finish_small(index: u32, lane: u32) {
    let tiles = tiles_of(index);
    let column = lane % SMALL_COLUMNS;
    of_columns[lane] = vec4<f32>();
    if (tiles <= SMALL_TILES) {
        of_columns[lane] = sum_of_run(index, column, tiles, SMALL_COLUMNS);
    }
    workgroupBarrier();
    if (column < SMALL_COLUMNS / RUN) {
        of_runs[lane / SMALL_COLUMNS * (SMALL_COLUMNS / RUN) + column] =
            sum_of_columns(lane - column + column * RUN);
    }
    workgroupBarrier();
    if (column == 0u && tiles <= SMALL_TILES && is_of_rule(index)) {
        let runs = lane / SMALL_COLUMNS * (SMALL_COLUMNS / RUN);
        finish(index, (of_runs[runs] + of_runs[runs + 1u]) + (of_runs[runs + 2u] + of_runs[runs + 3u]), tiles);
    }
}

// All lanes one tensor.
fn finish_large(index: u32, tiles: u32, lane: u32) {
    // Until all have read what is overwritten now.
    workgroupBarrier();
    for (var column = lane; column < COLUMNS; column += WORKGROUP_SIZE) {
        var total = vec4<f32>();
        for (var first = column; first < tiles; first += RUN * COLUMNS) {
            total += sum_of_run(index, first, min(tiles, first + RUN * COLUMNS), COLUMNS);
        }
        of_columns[column] = total;
    }
    workgroupBarrier();
    if (lane < COLUMNS / RUN) {
        of_runs[lane] = sum_of_columns(lane * RUN);
    }
    workgroupBarrier();
    if (lane == 0u) {
        var all = vec4<f32>();
        for (var i = 0u; i < COLUMNS / RUN; i++) {
            all += of_runs[i];
        }
        finish(index, all, tiles);
    }
}

fn sum_of_run(index: u32, first: u32, end: u32, step: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    let first_sum = placements[index].first_sum;
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
    var all = sum;
    all.w = f32(placement.len_vec4) * 4.0 + f32(placement.tail_elems);
    if (!JOINT) {
        let kept = Kept(kept_scalars[index], kept_scalars[arrayLength(&placements) + group.joint]);
        tensors[index].scalars = decide(all, tensors[index].scalars, kept, group.step_hyper);
    } else if (tiles != 0u) {
        sums[placement.first_sum] = all;
    }
}
