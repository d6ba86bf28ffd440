// A tensor as the matrices that its last two dimensions make, and where what is kept of their rows and columns lies:
// counted in elements of the buffer of all vectors. Of a rule that keeps blocks it is one matrix: for elements a row is
// a block, for sums it is a part of one, of at most 256 columns where that can be.

struct Matrices {
    // Of one matrix; 0 rows: the tensor has none.
    rows: u32,
    columns: u32,
    // What elements see of their rows; the rule's slot of columns.
    factors_at: u32,
    columns_at: u32,

    // The sums of the first tile, counted in vec4s.
    first_sum: u32,
    // The rule's slot of rows.
    rows_at: u32,
    // All values that are kept of rows, of all matrices; and these.
    rows_total: u32,
    matrices: u32,

    // A block is 64 rows of a matrix, a chunk 256 columns; a unit is a chunk of a block.
    blocks: u32,
    chunks: u32,
    // Where sums over chunks of rows begin, and over blocks of columns, among all of these.
    row_parts: u32,
    column_parts: u32,

    // Workgroups of control/vectors.wgsl and control/means.wgsl before those of this tensor.
    first_vectors: u32,
    first_means: u32,
    // Rows that one value is kept of: those of a block, or 1.
    rows_per_value: u32,
    padding0: u32,
}
