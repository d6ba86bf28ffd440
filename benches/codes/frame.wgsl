// What the candidates share: blocks of 256 elements in f32, a code for each, and the block's absmax.
// As in the engine's kernels, 32 lanes have two vec4s each of a block.
//
// Joined with encode.wgsl or decode.wgsl, and a candidate.

// 0: the signed book. 1: the unsigned one.
override KIND: u32;

@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;
// Four codes to a word.
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read> absmaxes: array<f32>;
// The candidate's table, in two kinds of memory: of 256 f32.
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<uniform> uniform_table: array<vec4<f32>, 64>;
// Where to look in the table, by the upper bits of a quotient.
@group(0) @binding(5) var<storage, read> cells: array<u32>;

const WORKGROUP_SIZE: u32 = 256u;
const BLOCK_LANES: u32 = 32u;

struct Place {
    block: u32,
    first: u32,
    second: u32,
}

fn place_of(workgroup: u32, lane: u32) -> Place {
    let block = workgroup * (WORKGROUP_SIZE / BLOCK_LANES) + lane / BLOCK_LANES;
    let first = block * 2u * BLOCK_LANES + lane % BLOCK_LANES;
    return Place(block, first, first + BLOCK_LANES);
}
