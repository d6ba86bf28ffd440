// Tiles in the arena: a tensor begins at a multiple of 256 elements and has the same element index in
// every role, so a lane needs no offsets, and every load of data can be under way before the tensor's
// record has come. One u32 for each tile names the tensor.
//
// Bindings, beside those of update.wgsl: every role is bound from the same tile on, `tiles` with exactly as
// many entries as the window has tiles.
//   1 tiles     the tensor of each tile
//   7 window    where these windows begin
//
// Invariants: the padding behind a tensor's last element belongs to that tensor; the part of it that
// lies in the tensor's last vec4 is written.

// Workgroups in one row of the dispatch: more than the device's limit fold into the y dimension.
override ROW_WORKGROUPS: u32 = 32768u;

@group(0) @binding(1) var<storage, read> tiles: array<u32>;
@group(0) @binding(7) var<uniform> window: Window;

struct Tile {
    tensor: u32,
    // The tile in the window.
    number: u32,
    exists: bool,
}

fn is_behind(first: u32) -> bool {
    return first >= arrayLength(&tiles);
}

fn find_tile(n: u32) -> Tile {
    let exists = n < arrayLength(&tiles);
    let number = select(0u, n, exists);
    return Tile(tiles[number], number, exists);
}

// The tile's vec4 of this number, counted from the tensor's first element.
fn index_of(tile: Tile, part: u32, tensor: Tensor) -> u32 {
    return window.first_vec4 + tile.number * 64u + part - tensor.first_vec4;
}

// How many elements of that vec4 exist; the others are padding.
fn elems_at(tile: Tile, part: u32, tensor: Tensor) -> u32 {
    let index = index_of(tile, part, tensor);
    let tail = select(0u, tensor.tail_elems, index == tensor.len_vec4);
    return select(0u, select(tail, 4u, index < tensor.len_vec4), tile.exists);
}

fn place_of(tile: Tile, part: u32, exists: u32, lane: u32, tensor: Tensor) -> Place {
    let at = tile.number * 64u + part;
    let index = tensor.whole_vec4 + index_of(tile, part, tensor);
    return Place(at, at, tile.number, part, index, select(0u, exists, tensor.step != 0u), lane);
}
