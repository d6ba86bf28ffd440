// What a rule keeps of rows and columns, for elements: each sees its row's factor and its column's value.
//
// In the place of tables/no_vectors.wgsl, and of tables/sums.wgsl: with the sums of tiles all this is one binding.
//
// Bindings, beside those of update.wgsl:
//   8 vectors   of each tensor its `Matrices`, in words; sums of tiles; rows and columns

// Whether rows are multiples of four long, so that no vec4 lies in two.
override WHOLE_ROWS: bool = false;
// Whether a tensor is one matrix.
override ONE_MATRIX: bool = false;

@group(0) @binding(8) var<storage, read_write> vectors: array<u32>;

// Where a tensor's rows and columns lie: the first words of its `Matrices`.
struct Axes {
    rows: u32,
    columns: u32,
    factors_at: u32,
    columns_at: u32,
}

fn load_axes(tensor_number: u32) -> Axes {
    let at = tensor_number * 16u;
    return Axes(vectors[at], vectors[at + 1u], vectors[at + 2u], vectors[at + 3u]);
}

// (Behind a tensor's end there is padding, or nothing: what is loaded for that is of no use.)
fn with_vectors(slots: Slots, axes: Axes, place: Place, tensor: Tensor) -> Slots {
    let elem = (place.index - tensor.whole_vec4) * 4u;
    var seen = slots;
    if (WHOLE_ROWS) {
        let row = quotient(elem, axes.columns);
        let column = elem - row * axes.columns;
        seen.row = vec4<f32>(vector_elem(axes.factors_at + row));
        seen.column = vector_vec4(vec4<u32>(column_at(row, column, axes)) + vec4<u32>(0u, 1u, 2u, 3u));
    } else {
        for (var i = 0u; i < 4u; i++) {
            let row = quotient(elem + i, axes.columns);
            seen.row[i] = vector_elem(axes.factors_at + row);
            seen.column[i] = vector_elem(column_at(row, elem + i - row * axes.columns, axes));
        }
    }
    return seen;
}

// Where the value of a column lies, beside a row among those of all matrices.
fn column_at(row: u32, column: u32, axes: Axes) -> u32 {
    if (ONE_MATRIX) {
        return axes.columns_at + column;
    }
    return axes.columns_at + quotient(row, axes.rows) * axes.columns + column;
}

// (In floating point, since whole quotients take many operations on any GPU: the second guess mends what f32 has not
// of numbers above 2^24.)
fn quotient(dividend: u32, divisor: u32) -> u32 {
    let reciprocal = 1.0 / f32(divisor);
    var quotient = u32(f32(dividend) * reciprocal);
    let rest = i32(dividend - quotient * divisor);
    quotient += u32(i32(floor(f32(rest) * reciprocal)));
    let last = i32(dividend - quotient * divisor);
    return quotient + select(0u, 1u, last >= i32(divisor)) - select(0u, 1u, last < 0);
}

fn vector_elem(at: u32) -> f32 {
    return bitcast<f32>(vectors[at]);
}

fn vector_vec4(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(vector_elem(at.x), vector_elem(at.y), vector_elem(at.z), vector_elem(at.w));
}

fn store_tile_sum(tensor_number: u32, place: Place, tensor: Tensor, sum: vec4<f32>) {
    let first_sum = vectors[tensor_number * 16u + 4u];
    let at = (first_sum + (place.index - tensor.whole_vec4) / 64u) * 4u;
    let words = bitcast<vec4<u32>>(sum);
    vectors[at] = words.x;
    vectors[at + 1u] = words.y;
    vectors[at + 2u] = words.z;
    vectors[at + 3u] = words.w;
}
