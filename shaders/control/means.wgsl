// Means: what elements see of their rows, by the mean of a matrix's rows.
//
//   mean   <- mean of the rule's row slot over the rows of a matrix
//   factor <- row_factor(row, mean, hyper)
//
// A workgroup for each matrix; a dispatch for each rule. The order of sums is fixed: runs of 16 rows of every 64th,
// then lanes.
//
// Joined with: a rule (StepHyper, row_factor), and all that it is joined with in an update;
// structs/{tensor,placement,group,matrices}.wgsl.
//
// Bindings (group 0):
//   0 groups       constants of each group
//   1 placements   what is known of each tensor once and for all
//   2 matrices     of each tensor
//   3 vectors      rows (in), factors (out)

@group(0) @binding(0) var<storage, read> groups: array<Group>;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> matrices: array<Matrices>;
@group(0) @binding(3) var<storage, read_write> vectors: array<f32>;

override ROW_WORKGROUPS: u32 = 32768u;
// The rule's number among those of the optimizer.
override RULE: u32 = 0u;

var<workgroup> of_lanes: array<f32, 64>;
var<workgroup> of_runs: array<f32, 8>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    let index = find(workgroup);
    let placement = placements[index];
    if (placement.rule != RULE) {
        return;
    }
    let shape = matrices[index];
    let matrix = workgroup - shape.first_means;
    // Workgroups behind the end, in the last row of a folded dispatch, have no matrix.
    let rows = select(0u, shape.rows, matrix < shape.matrices);
    let first = shape.rows_at + matrix * shape.rows;
    var sum = 0.0;
    for (var run = lane; run < rows; run += 1024u) {
        var of_run = 0.0;
        for (var row = run; row < min(rows, run + 1024u); row += 64u) {
            of_run += vectors[first + row];
        }
        sum += of_run;
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
    let mean = (low + high) / f32(shape.rows);
    let hyper = groups[placement.group].step_hyper;
    for (var row = lane; row < rows; row += 64u) {
        let factor = row_factor(vectors[first + row], mean, hyper);
        vectors[shape.factors_at + matrix * shape.rows + row] = factor;
    }
}

// The tensor of this workgroup: the last whose first it is, or comes before it.
fn find(workgroup: u32) -> u32 {
    var low = 0u;
    var high = arrayLength(&placements) - 1u;
    while (low < high) {
        let middle = (low + high + 1u) / 2u;
        if (matrices[middle].first_means <= workgroup) {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    return low;
}
