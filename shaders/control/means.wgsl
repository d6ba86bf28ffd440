// Means: what elements see of their rows, by the mean of a matrix's rows.
//
//   mean   <- mean of the rule's row slot over the rows of a matrix
//   factor <- row_factor(row, mean, hyper)
//
// A workgroup for each matrix, or a lane where it has at most 16 rows; a dispatch for each rule. The order of sums is
// fixed: runs of 16 rows of every 64th, then lanes.
//
// Joined with: a rule (StepHyper, row_factor), and all that it is joined with in an update;
// structs/{tensor,placement,group,matrices}.wgsl.
//
// Bindings (group 0):
//   0 groups       constants of each group
//   1 placements   what is known of each tensor once and for all
//   2 matrices     of each tensor
//   3 vectors      rows (in), factors (out)
//   4 owners       the tensor of each workgroup

@group(0) @binding(0) var<storage, read> groups: array<Group>;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> matrices: array<Matrices>;
@group(0) @binding(3) var<storage, read_write> vectors: array<f32>;
@group(0) @binding(4) var<storage, read> owners: array<u32>;

override ROW_WORKGROUPS: u32 = 32768u;
// The rule's number among those of the optimizer.
override RULE: u32 = 0u;

// Matrices with no more rows have a lane each.
const LANE_ROWS: u32 = 16u;

var<workgroup> of_lanes: array<f32, 64>;
var<workgroup> of_runs: array<f32, 8>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (workgroup >= arrayLength(&owners)) {
        return;
    }
    let index = owners[workgroup];
    let placement = placements[index];
    if (placement.rule != RULE) {
        return;
    }
    let shape = matrices[index];
    let hyper = groups[placement.group].step_hyper;
    let own = workgroup - shape.first_means;
    if (shape.rows <= LANE_ROWS) {
        let matrix = own * 64u + lane;
        if (matrix < shape.matrices) {
            let sum = sum_of(shape.rows_at + matrix * shape.rows, shape.rows, 1u);
            store_factors(matrix, 0u, 1u, sum, shape, hyper);
        }
        return;
    }
    // (A buffer's size is rounded up.)
    if (own >= shape.matrices) {
        return;
    }
    let first = shape.rows_at + own * shape.rows;
    var sum = 0.0;
    for (var run = lane; run < shape.rows; run += 1024u) {
        sum += sum_of(first + run, min(shape.rows - run, 1024u), 64u);
    }
    of_lanes[lane] = sum;
    workgroupBarrier();
    if (lane < 8u) {
        var of_run = 0.0;
        for (var i = 0u; i < 8u; i++) {
            of_run += of_lanes[lane * 8u + i];
        }
        of_runs[lane] = of_run;
    }
    workgroupBarrier();
    let low = (of_runs[0] + of_runs[1]) + (of_runs[2] + of_runs[3]);
    let high = (of_runs[4] + of_runs[5]) + (of_runs[6] + of_runs[7]);
    store_factors(own, lane, 64u, low + high, shape, hyper);
}

// The sum of every so many of some rows.
fn sum_of(first: u32, rows: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var row = 0u; row < rows; row += step) {
        sum += vectors[first + row];
    }
    return sum;
}

fn store_factors(matrix: u32, first: u32, step: u32, sum: f32, shape: Matrices, hyper: StepHyper) {
    let mean = sum / f32(shape.rows);
    for (var row = first; row < shape.rows; row += step) {
        let at = matrix * shape.rows + row;
        vectors[shape.factors_at + at] = row_factor(vectors[shape.rows_at + at], mean, hyper);
    }
}
