// Tiles over borrowed buffers: parameters and gradients lie wherever their owner put them, in each step
// elsewhere if they must; only state and master copies lie in buffers of ours.
//
// A run is a row of tiles of one tensor; it says where they begin in the windows of the dispatch. One
// u32 for each tile names its run: written by the host where nothing moves, else by control/expand.wgsl in
// the same pass.
//
// The last tile of a tensor whose length is no multiple of four goes through the `_scalar` packing, which
// never touch an element outside of the tensor. Where parameter and gradient lie in one buffer,
// packing/grad_shared.wgsl or grad_in_param.wgsl reaches both through binding 2, and binding 3 holds a dummy.
// Everything is bound read_write: WebGPU rejects a buffer that is bound read and read_write in the
// same dispatch, even for ranges that do not overlap.
//
// Bindings, beside those of update.wgsl:
//   1 tiles     the run of each tile, from the dispatch's first on
//   7 runs      all runs of the step: tables/runs_uniform.wgsl or runs_storage.wgsl

// No dispatch folds: it ends where its last workgroup does, filled up with runs without elements.
const ROW_WORKGROUPS: u32 = 0u;

@group(0) @binding(1) var<storage, read> tiles: array<u32>;

struct Tile {
    tensor: u32,
    // First vec4 of the tile, counted from the tensor's first element.
    first_vec4: u32,
    len_elems: u32,
    // Its first vec4 in the windows of parameter and gradient, and the tile in those of state and master.
    param_vec4: u32,
    grad_vec4: u32,
    number: u32,
}

fn is_behind(first: u32) -> bool {
    return false;
}

fn find_tile(n: u32) -> Tile {
    let run = load_run(tiles[n]);
    // The tile in its run.
    let t = n - run.first_of_dispatch;
    let behind = min(t * 256u, run.len_elems);
    return Tile(
        run.tensor,
        run.first_vec4 + t * 64u,
        min(run.len_elems - behind, 256u),
        run.param_vec4 + t * 64u,
        run.grad_vec4 + t * 64u,
        run.state_tile + t,
    );
}

// How many elements of the tile's vec4 of this number exist: 4, fewer in the one that holds the tensor's
// end, 0 behind it.
fn elems_at(tile: Tile, part: u32, tensor: Tensor) -> u32 {
    return min(tile.len_elems - min(part * 4u, tile.len_elems), 4u);
}

// A vec4 without elements stands for the tile's first: it is loaded, and never stored.
fn place_of(tile: Tile, part: u32, exists: u32, lane: u32, tensor: Tensor) -> Place {
    let at = select(0u, part, exists != 0u);
    return Place(
        tile.param_vec4 + at,
        tile.grad_vec4 + at,
        tile.number,
        at,
        tensor.whole_vec4 + tile.first_vec4 + at,
        select(0u, exists, tensor.step != 0u),
        lane,
    );
}
