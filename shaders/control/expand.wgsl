// Expand: names the run of each tile, where parameters or gradients have moved since the host did so.
//
//   tiles[run.first_tile + t] <- number of the run        for every tile t of every run
//
// A column of workgroups for each run. The last run is an end: it has no tiles.
//
// Joined with: structs/run.wgsl.
//
// Bindings (group 0):
//   0 runs    all runs of the step, in the order of their tiles
//   1 tiles   (out)

@group(0) @binding(0) var<storage, read> runs: array<Run>;
@group(0) @binding(1) var<storage, read_write> tiles: array<u32>;

// Workgroups in one row of the dispatch: more than the device's limit fold into the z dimension.
override ROW_WORKGROUPS: u32 = 32768u;

const LANES: u32 = 64u;
// Workgroups of a run.
const COLUMN: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = workgroup_id.z * ROW_WORKGROUPS + workgroup_id.x;
    // Behind the last run, in the last row of a folded dispatch, lie runs without tiles.
    let first = runs[number].first_tile;
    let end = runs[number + 1u].first_tile;
    for (var tile = first + workgroup_id.y * LANES + lane; tile < end; tile += LANES * COLUMN) {
        tiles[tile] = number;
    }
}
