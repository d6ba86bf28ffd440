// What a monitored update adds up for each tile: how far the parameter goes, and how large it was.
//
//   sums[tile] = (sum of (param after - param before)^2, sum of (param before)^2)     over elements that take the step
//
// The parameter after the update is read back: it goes as far as its format and precision keep. A sum is a tree in a
// fixed order, and a tile's is the same in any window. In its place: functions/no_update_sums.wgsl.

// (A workgroup has at most 128 lanes; naga cannot size this by an override.)
var<workgroup> update_squares: array<vec2<f32>, 128>;

fn store_update_sums(workgroup: u32, a: Place, b: Place, before_a: vec4<f32>, before_b: vec4<f32>) {
    update_squares[a.lane] = squares_of(before_a, load_param(a), a.count)
        + squares_of(before_b, load_param(b), b.count);
    workgroupBarrier();
    if (a.lane >= WORKGROUP_SIZE / TILE_LANES) {
        return;
    }
    let tile = find_tile(workgroup * (WORKGROUP_SIZE / TILE_LANES) + a.lane);
    let tensor = load_tensor(tile.tensor);
    let exists = elems_at(tile, 0u, tensor);
    if (exists != 0u) {
        var sum: vec2<f32>;
        let first = a.lane * TILE_LANES;
        for (var l = first; l < first + 32u; l += 4u) {
            sum += (squares_at(l) + squares_at(l + 1u)) + (squares_at(l + 2u) + squares_at(l + 3u));
        }
        let place = place_of(tile, 0u, exists, 0u, tensor);
        store_tile_sum(tile.tensor, place, tensor, vec4<f32>(sum, 0.0, 0.0));
    }
}

// Of two vec4s that lie 32 apart, of one lane or of two.
fn squares_at(lane: u32) -> vec2<f32> {
    if (LANE_VEC4S == 2u) {
        return update_squares[lane];
    }
    return update_squares[lane] + update_squares[lane + 32u];
}

// Of the elements that exist.
fn squares_of(before: vec4<f32>, after: vec4<f32>, count: u32) -> vec2<f32> {
    let exists = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
    let update = select(vec4<f32>(), after - before, exists);
    let weight = select(vec4<f32>(), before, exists);
    return vec2<f32>(dot(update, update), dot(weight, weight));
}
