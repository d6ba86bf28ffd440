// Matrix product, in all the forms that linear layers and attention have.
//
//   c[m, n] <- scale * sum over k of A[m, k] * B[k, n]
//
//   A[m, k] is a[m, k], or a[k, m] if A_TRANSPOSED; B[k, n] is b[k, n], or b[n, k] if B_TRANSPOSED.
//
// A workgroup of 64 lanes makes a tile of 64 × 64 elements. Sixteen rows of A and B at a time go through workgroup
// memory, where both lie with k outside: so a lane has its 8 × 8 elements from four loads for each k, and neighbouring
// lanes load neighbouring words. What lies in memory the other way is turned on the way in, a block of 4 × 4 by each
// lane.
//
// Bindings (group 0):
//   0 product   sizes, and where the matrices of a batch lie
//   the others  with the files that it is joined with, which say what a word of four is: of A load_a, of B load_b,
//               and store for the result
//
// Grid: columns of tiles, rows of tiles, batches.
//
// Invariants: strides and offsets are whole words. What a last word has too many is zero in a and b, and becomes
// zero in c. The sum is taken in a fixed order.

struct Product {
    m: u32,
    n: u32,
    k: u32,
    scale: f32,
    a: Operand,
    b: Operand,
    c: Operand,
    // Batches are heads of sequences.
    heads: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

// Where a matrix lies, in words.
struct Operand {
    offset: u32,
    stride: u32,
    // From one head to the next.
    head: u32,
    // From one sequence to the next.
    sequence: u32,
}

@group(0) @binding(0) var<uniform> product: Product;

override A_TRANSPOSED: bool = false;
override B_TRANSPOSED: bool = false;

// A tile's side in words and in elements, and how many k are in it.
const WORDS: u32 = 16u;
const SIDE: u32 = 64u;
const DEPTH: u32 = 16u;

// [DEPTH][WORDS]
var<workgroup> a_tile: array<vec4<f32>, 256>;
var<workgroup> b_tile: array<vec4<f32>, 256>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let a_first = first(product.a, workgroup_id.z);
    let b_first = first(product.b, workgroup_id.z);
    let c_first = first(product.c, workgroup_id.z);
    let column = workgroup_id.x * SIDE;
    let row = workgroup_id.y * SIDE;
    let x = lane % 8u;
    let y = lane / 8u;

    // A column of a matrix is a row of c: of the lane's upper or lower four, its left or right word.
    var upper_left = mat4x4<f32>();
    var upper_right = mat4x4<f32>();
    var lower_left = mat4x4<f32>();
    var lower_right = mat4x4<f32>();
    for (var k = 0u; k < product.k; k += DEPTH) {
        load_tiles(a_first, b_first, row, column, k, lane);
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let upper = a_tile[depth * WORDS + y];
            let lower = a_tile[depth * WORDS + y + 8u];
            let left = b_tile[depth * WORDS + x];
            let right = b_tile[depth * WORDS + x + 8u];
            upper_left += outer(upper, left);
            upper_right += outer(upper, right);
            lower_left += outer(lower, left);
            lower_right += outer(lower, right);
        }
        workgroupBarrier();
    }
    store_block(c_first, row + 4u * y, column + 4u * x, upper_left);
    store_block(c_first, row + 4u * y, column + 4u * (x + 8u), upper_right);
    store_block(c_first, row + 4u * (y + 8u), column + 4u * x, lower_left);
    store_block(c_first, row + 4u * (y + 8u), column + 4u * (x + 8u), lower_right);
}

// The word that the matrix of a batch begins with.
fn first(operand: Operand, batch: u32) -> u32 {
    let sequence = batch / product.heads;
    return operand.offset + sequence * operand.sequence + batch % product.heads * operand.head;
}

fn outer(rows: vec4<f32>, word: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(rows.x * word, rows.y * word, rows.z * word, rows.w * word);
}

// Each lane one block of A and one of B. Lanes are numbered along what is contiguous.
fn load_tiles(a_first: u32, b_first: u32, row: u32, column: u32, k: u32, lane: u32) {
    let along_k = vec2<u32>(lane / 4u, lane % 4u);
    let across_k = vec2<u32>(lane % WORDS, lane / WORDS);
    let a_at = select(along_k, across_k, A_TRANSPOSED);
    let b_at = select(across_k, along_k, B_TRANSPOSED);
    let a_block = load_a_block(a_first, row + 4u * a_at.x, k + 4u * a_at.y);
    let b_block = load_b_block(b_first, column + 4u * b_at.x, k + 4u * b_at.y);
    for (var i = 0u; i < 4u; i++) {
        a_tile[(4u * a_at.y + i) * WORDS + a_at.x] = a_block[i];
        b_tile[(4u * b_at.y + i) * WORDS + b_at.x] = b_block[i];
    }
}

// Four rows from `m` on of the four columns from `k` on, one k after the other.
fn load_a_block(first: u32, m: u32, k: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    if (A_TRANSPOSED) {
        for (var i = 0u; i < 4u; i++) {
            if (k + i < product.k && m < product.m) {
                block[i] = load_a(first + (k + i) * product.a.stride + m / 4u);
            }
        }
        return block;
    }
    for (var i = 0u; i < 4u; i++) {
        if (m + i < product.m && k < product.k) {
            block[i] = load_a(first + (m + i) * product.a.stride + k / 4u);
        }
    }
    return transpose(block);
}

// Four columns from `n` on, likewise.
fn load_b_block(first: u32, n: u32, k: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    if (B_TRANSPOSED) {
        for (var i = 0u; i < 4u; i++) {
            if (n + i < product.n && k < product.k) {
                block[i] = load_b(first + (n + i) * product.b.stride + k / 4u);
            }
        }
        return transpose(block);
    }
    for (var i = 0u; i < 4u; i++) {
        if (k + i < product.k && n < product.n) {
            block[i] = load_b(first + (k + i) * product.b.stride + n / 4u);
        }
    }
    return block;
}

fn store_block(first: u32, row: u32, column: u32, rows: mat4x4<f32>) {
    var block = rows;
    for (var i = 0u; i < 4u; i++) {
        if (row + i < product.m && column < product.n) {
            store(first + (row + i) * product.c.stride + column / 4u, column / 4u, product.scale * block[i]);
        }
    }
}
