// Vectors: what a rule keeps of each row and column, from the mean of its margin.
//
//   row    <- keep_row(row, mean, record.scalars, hyper)
//   column <- keep_column(column, mean, record.scalars, hyper)
//
// A workgroup for 64 rows of a tensor, or for one of more than 64 parts; or for 64 columns, where a matrix has more than
// 256 rows for 16, with four lanes each. The rows of a block have one value. A dispatch for each rule. Others' tensors are left alone, and those that take no step.
//
// Joined with: a rule (StepHyper, Scalars, keep_row, keep_column), and all that it is joined with in an update;
// structs/{tensor,placement,group,matrices}.wgsl.
//
// Bindings (group 0):
//   0 groups       constants of each group
//   1 placements   what is known of each tensor once and for all
//   2 tensors      the records
//   3 matrices     of each tensor
//   4 parts        from control/margins.wgsl
//   5 vectors      rows and columns (in and out)
//   6 owners       the tensor of each workgroup

@group(0) @binding(0) var<storage, read> groups: array<Group>;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> tensors: array<Tensor>;
@group(0) @binding(3) var<storage, read> matrices: array<Matrices>;
@group(0) @binding(4) var<storage, read> parts: array<f32>;
@group(0) @binding(5) var<storage, read_write> vectors: array<f32>;
@group(0) @binding(6) var<storage, read> owners: array<u32>;

override ROW_WORKGROUPS: u32 = 32768u;
// The rule's number among those of the optimizer.
override RULE: u32 = 0u;

const LARGE_PARTS: u32 = 64u;
const LARGE_BLOCKS: u32 = 4u;
const LARGE_SLICES: u32 = 4u;

var<workgroup> of_lanes: array<f32, 64>;

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
    let own = workgroup - shape.first_vectors;
    // Parts of a row, or of all of a block; and lanes of it.
    let row_parts = shape.rows_per_value * shape.chunks;
    let row_lanes = select(1u, 64u, row_parts > LARGE_PARTS);
    let rows = 64u / row_lanes;
    let row_workgroups = (shape.rows_total + rows - 1u) / rows;
    let is_row = own < row_workgroups;
    let row = own * rows + lane % rows;
    // Lanes of a column.
    let slices = select(1u, LARGE_SLICES, shape.blocks > LARGE_BLOCKS);
    let columns = 64u / slices;
    let column = (own - row_workgroups) * columns + lane % columns;
    let columns_total = shape.matrices * shape.columns;
    var sum = 0.0;
    if (is_row && row < shape.rows_total) {
        // All parts, or every 64th.
        let first = lane / rows;
        let len = (row_parts - min(first, row_parts) + row_lanes - 1u) / row_lanes;
        sum = sum_of(shape.row_parts + row * row_parts + first, row_lanes, len);
    } else if (!is_row && column < columns_total) {
        // Every fourth block, or all.
        let slice = lane / columns;
        let first = shape.column_parts
            + (column / shape.columns * shape.blocks + slice) * shape.columns
            + column % shape.columns;
        let blocks = (shape.blocks - min(slice, shape.blocks) + slices - 1u) / slices;
        sum = sum_of(first, slices * shape.columns, blocks);
    }
    of_lanes[lane] = sum;
    workgroupBarrier();
    if (tensors[index].step == 0u) {
        return;
    }
    let scalars = tensors[index].scalars;
    let hyper = groups[placement.group].step_hyper;
    if (is_row && lane < rows && row < shape.rows_total) {
        var total = sum;
        if (row_lanes == 64u) {
            total = sum_of_lanes();
        }
        let at = shape.rows_at + row;
        let mean = total / f32(shape.rows_per_value * shape.columns);
        vectors[at] = keep_row(vectors[at], mean, scalars, hyper);
    } else if (!is_row && lane < columns && column < columns_total) {
        var total = sum;
        if (slices == LARGE_SLICES) {
            total = (sum + of_lanes[lane + 16u]) + (of_lanes[lane + 32u] + of_lanes[lane + 48u]);
        }
        let at = shape.columns_at + column;
        vectors[at] = keep_column(vectors[at], total / f32(shape.rows), scalars, hyper);
    }
}

// The sum of what all lanes have, in runs of eight.
fn sum_of_lanes() -> f32 {
    var total = 0.0;
    for (var run = 0u; run < 64u; run += 8u) {
        var of_run = 0.0;
        for (var i = run; i < run + 8u; i++) {
            of_run += of_lanes[i];
        }
        total += of_run;
    }
    return total;
}

// The sum of `len` parts, in runs of 16.
fn sum_of(first: u32, stride: u32, len: u32) -> f32 {
    var total = 0.0;
    for (var run = 0u; run < len; run += 16u) {
        var of_run = 0.0;
        for (var i = run; i < min(len, run + 16u); i++) {
            of_run += parts[first + i * stride];
        }
        total += of_run;
    }
    return total;
}
