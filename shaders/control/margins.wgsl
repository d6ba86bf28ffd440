// Margins: what a rule wants summed over each row and each column of matrices, in parts.
//
//   row_parts[row, chunk]       <- sum of margin(grad) over the 256 columns of a chunk
//   column_parts[block, column] <- sum of margin(grad) over the 64 rows of a block
//
// A unit is a chunk of a block. Each has a workgroup: eight lanes a row, with up to eight vec4s each (LANE_VEC4S:
// as many as a row is long), so that neighbouring lanes load neighbouring vec4s and a lane's loads are
// independent; a row then needs a sum of eight through workgroup memory, and a column another. (Measured on
// Mesa's software driver: Adafactor's roofline is 0.91, and 0.72 with a lane for each vec4 of a row, 64 of them.)
// Of tiny matrices (LANE_VEC4S 0: the last dimensions of a convolution, say) a unit is given to one lane for each
// vec4 of a row, and a workgroup has as many units as it has lanes for. Where rows are no multiple of four long, a
// lane loads two vec4s and takes what lies across.
// Where a rule keeps blocks of a tensor, there is one matrix, of which every block is some rows; columns are not summed.
// Blocks and chunks are counted from the beginning of each matrix: where buffers are cut changes no sum.
//
// Joined with: a rule (margin), and all that it is joined with in an update; words, format and codec of the
// gradient; functions/gradient.wgsl, tables/{hyper,pieces}.wgsl, structs/{piece,matrices,place}.wgsl,
// tables/tensors_{uniform,storage}.wgsl.
//
// Bindings (group 0):
//   0 tensors   records
//   1 pieces    units of tensors; a workgroup looks for its own
//   2 grad      a window of a buffer
//   3 matrices  of each tensor
//   4 parts     (out)
//   5 hypers    constants

@group(0) @binding(2) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(3) var<storage, read> matrices: array<Matrices>;
@group(0) @binding(4) var<storage, read_write> parts: array<f32>;
@group(0) @binding(5) var<uniform> hypers: Hypers;

override ROW_WORKGROUPS: u32 = 32768u;
// Whether rows are multiples of four long, so that no vec4 lies in two.
override WHOLE_ROWS: bool = false;
// Whether the rule keeps something of columns.
override HAS_COLUMNS: bool = true;

// Vec4s of a row that a lane sums, at most: 1, 2, 4 or 8; 0: matrices are tiny.
override LANE_VEC4S: u32 = 8u;

const BLOCK_ROWS: u32 = 64u;
const CHUNK_COLUMNS: u32 = 256u;
// Of eight lanes.
override ROW_VEC4S: u32 = 8u * LANE_VEC4S;

// Of each row and lane, or of each lane.
var<workgroup> of_rows: array<f32, 512>;
// Of each group of eight lanes, and column.
var<workgroup> of_columns: array<vec4<f32>, 512>;

// A unit, and how its piece is loaded.
struct Unit {
    // Its block among those of all matrices, how many of that block's rows exist, and the first among those
    // of all matrices.
    block: u32,
    rows: u32,
    first_row: u32,
    chunk: u32,
    columns: u32,
    // Its first element, counted from the vec4 of the window that the piece begins in; and that vec4, counted
    // from the tensor's first.
    first_elem: u32,
    grad_vec4: u32,
    lead_vec4: u32,
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (workgroup >= pieces[0].first_workgroup) {
        return;
    }
    let piece = pieces[find_piece(workgroup)];
    let shape = matrices[piece.tensor];
    let tensor = load_tensor(piece.tensor);
    let hyper = load_hyper(tensor);
    let number = workgroup - piece.first_workgroup;
    if (LANE_VEC4S == 0u) {
        let lanes = unit_lanes(shape.columns);
        let unit = unit_of(number * (64u / lanes) + lane / lanes, piece, shape);
        sum_tiny(unit, lane, lanes, shape, tensor, hyper);
    } else {
        sum_wide(unit_of(number, piece, shape), lane, shape, tensor, hyper);
    }
}

// The unit of this number in a piece; one behind the last has no rows.
fn unit_of(number: u32, piece: Piece, shape: Matrices) -> Unit {
    let block = (piece.first + number) / shape.chunks;
    let chunk = (piece.first + number) % shape.chunks;
    let first_of_piece = elem_of(piece.first, shape);
    let exists = number < piece.len;
    let rows = min(BLOCK_ROWS, shape.rows - (block % shape.blocks) * BLOCK_ROWS);
    let first = elem_of(piece.first + number, shape) - first_of_piece;
    return Unit(
        block,
        select(0u, rows, exists),
        row_of(block, shape),
        chunk,
        shape.columns,
        piece.lead + select(0u, first, exists),
        piece.grad_vec4,
        first_of_piece / 4u,
    );
}

fn sum_wide(unit: Unit, lane: u32, shape: Matrices, tensor: Tensor, hyper: Hyper) {
    let own = lane % 8u;
    var sums0 = vec4<f32>();
    var sums1 = vec4<f32>();
    var sums2 = vec4<f32>();
    var sums3 = vec4<f32>();
    var sums4 = vec4<f32>();
    var sums5 = vec4<f32>();
    var sums6 = vec4<f32>();
    var sums7 = vec4<f32>();
    for (var row = lane / 8u; row < unit.rows; row += 8u) {
        let term0 = term_of(row, own, unit, tensor, hyper);
        var term1 = vec4<f32>();
        var term2 = vec4<f32>();
        var term3 = vec4<f32>();
        var term4 = vec4<f32>();
        var term5 = vec4<f32>();
        var term6 = vec4<f32>();
        var term7 = vec4<f32>();
        if (LANE_VEC4S > 1u) {
            term1 = term_of(row, own + 8u, unit, tensor, hyper);
        }
        if (LANE_VEC4S > 2u) {
            term2 = term_of(row, own + 16u, unit, tensor, hyper);
            term3 = term_of(row, own + 24u, unit, tensor, hyper);
        }
        if (LANE_VEC4S > 4u) {
            term4 = term_of(row, own + 32u, unit, tensor, hyper);
            term5 = term_of(row, own + 40u, unit, tensor, hyper);
            term6 = term_of(row, own + 48u, unit, tensor, hyper);
            term7 = term_of(row, own + 56u, unit, tensor, hyper);
        }
        sums0 += term0;
        sums1 += term1;
        sums2 += term2;
        sums3 += term3;
        sums4 += term4;
        sums5 += term5;
        sums6 += term6;
        sums7 += term7;
        let of_row = ((term0 + term1) + (term2 + term3)) + ((term4 + term5) + (term6 + term7));
        of_rows[row * 8u + own] = (of_row.x + of_row.y) + (of_row.z + of_row.w);
    }
    if (HAS_COLUMNS) {
        let first = lane / 8u * ROW_VEC4S + own;
        of_columns[first] = sums0;
        if (LANE_VEC4S > 1u) {
            of_columns[first + 8u] = sums1;
        }
        if (LANE_VEC4S > 2u) {
            of_columns[first + 16u] = sums2;
            of_columns[first + 24u] = sums3;
        }
        if (LANE_VEC4S > 4u) {
            of_columns[first + 32u] = sums4;
            of_columns[first + 40u] = sums5;
            of_columns[first + 48u] = sums6;
            of_columns[first + 56u] = sums7;
        }
    }
    workgroupBarrier();
    // A lane for each row, and for each vec4 of columns.
    if (lane < unit.rows) {
        var sum = 0.0;
        for (var i = lane * 8u; i < lane * 8u + 8u; i++) {
            sum += of_rows[i];
        }
        parts[shape.row_parts + (unit.first_row + lane) * shape.chunks + unit.chunk] = sum;
    }
    if (HAS_COLUMNS && lane < ROW_VEC4S) {
        var sum = vec4<f32>();
        for (var i = lane; i < 8u * ROW_VEC4S; i += ROW_VEC4S) {
            sum += of_columns[i];
        }
        store_columns(unit, lane, sum, shape);
    }
}

fn sum_tiny(unit: Unit, lane: u32, lanes: u32, shape: Matrices, tensor: Tensor, hyper: Hyper) {
    let own = lane % lanes;
    var sums = vec4<f32>();
    // Tiny matrices are one block each.
    for (var first = 0u; first < shape.rows; first += 8u) {
        let rows = min(8u, shape.rows - first);
        for (var i = 0u; i < rows; i++) {
            let term = term_of(first + i, own, unit, tensor, hyper);
            sums += term;
            of_rows[i * 64u + lane] = (term.x + term.y) + (term.z + term.w);
        }
        workgroupBarrier();
        for (var i = own; i < rows; i += lanes) {
            var sum = 0.0;
            for (var l = lane - own; l < lane - own + lanes; l++) {
                sum += of_rows[i * 64u + l];
            }
            if (unit.rows != 0u) {
                parts[shape.row_parts + unit.first_row + first + i] = sum;
            }
        }
        workgroupBarrier();
    }
    store_columns(unit, own, sums, shape);
}

fn store_columns(unit: Unit, number: u32, sums: vec4<f32>, shape: Matrices) {
    let column = unit.chunk * CHUNK_COLUMNS + number * 4u;
    let at = shape.column_parts + unit.block * unit.columns + column;
    let count = select(0u, unit.columns - min(column, unit.columns), HAS_COLUMNS && unit.rows != 0u);
    if (count > 0u) {
        parts[at] = sums.x;
    }
    if (count > 1u) {
        parts[at + 1u] = sums.y;
    }
    if (count > 2u) {
        parts[at + 2u] = sums.z;
    }
    if (count > 3u) {
        parts[at + 3u] = sums.w;
    }
}

// The terms of a row's vec4 of this number in the chunk; 0 of what does not exist, for which something is
// loaded that does.
fn term_of(row: u32, number: u32, unit: Unit, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    let column = unit.chunk * CHUNK_COLUMNS + number * 4u;
    let exists = row < unit.rows && column < unit.columns;
    let elem = unit.first_elem + select(0u, row * unit.columns + number * 4u, exists);
    let term = margin(load_across(unit.grad_vec4, unit.lead_vec4, elem, tensor), tensor, hyper);
    if (WHOLE_ROWS) {
        return select(vec4<f32>(), term, exists);
    }
    let columns = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), term, (columns < vec4<u32>(unit.columns)) & vec4<bool>(exists));
}

// Lanes of a unit of tiny matrices: as many as a row has vec4s, up to the next power of two.
fn unit_lanes(columns: u32) -> u32 {
    let vec4s = (min(columns, 32u) + 3u) / 4u;
    return 1u << (32u - countLeadingZeros(max(vec4s, 1u) - 1u));
}

// The first row of a block, among those of all matrices.
fn row_of(block: u32, shape: Matrices) -> u32 {
    return block / shape.blocks * shape.rows + block % shape.blocks * BLOCK_ROWS;
}

// The first element of a unit, among those of all matrices.
fn elem_of(unit: u32, shape: Matrices) -> u32 {
    return row_of(unit / shape.chunks, shape) * shape.columns + unit % shape.chunks * CHUNK_COLUMNS;
}

// Four elements from any on; `first` is a vec4 of the window, number `lead` of the tensor.
fn load_across(first: u32, lead: u32, elem: u32, tensor: Tensor) -> vec4<f32> {
    if (WHOLE_ROWS) {
        return load_grad(Place(0u, first + elem / 4u, 0u, 0u, 0u, 4u, 0u), tensor);
    }
    // Both vec4s, though only one may be needed: no load waits for another.
    let low = load_vec4(first, lead, elem / 4u, tensor);
    let high = load_vec4(first, lead, elem / 4u + 1u, tensor);
    let shift = elem % 4u;
    let from_one = select(low, vec4<f32>(low.yzw, high.x), shift == 1u);
    let from_two = select(vec4<f32>(low.zw, high.xy), vec4<f32>(low.w, high.xyz), shift == 3u);
    return select(from_one, from_two, shift >= 2u);
}

fn load_vec4(first: u32, lead: u32, at: u32, tensor: Tensor) -> vec4<f32> {
    let index = lead + at;
    let count = select(select(0u, tensor.tail_elems, index == tensor.len_vec4), 4u, index < tensor.len_vec4);
    return load_grad(Place(0u, first + select(0u, at, count != 0u), 0u, 0u, index, count, 0u), tensor);
}
