// The frame of a reduction: what a rule wants summed over a tensor before it applies anything.
//
//   sums[tile] = sum of terms(param[i], grad[i], proposal[i], tensor, hyper)      over the elements i of a tile
//
// Loads what update.wgsl loads, proposes as it does, and stores one sum for each tile; control/finish.wgsl adds up
// those of a tensor. The update proposes again: what it would have to load instead are as many words. Sums are trees
// in a fixed order, and a tile's is the same in any window.
//
// Joined with: as update.wgsl, and a rule that has `terms` and `decide`; structs/terms.wgsl; functions/rule_sums.wgsl or
// steering_sums.wgsl.
//
// Bindings (group 0): those of update.wgsl; sums go to tables/sums.wgsl or tables/vectors.wgsl.

// Lanes of a tile, with eight vec4s each. (Measured on Mesa's software driver, where barriers are what a workgroup
// costs: LAMB's roofline is 0.73 with 32 lanes, two vec4s each, and two barriers for eight tiles.)
const TILE_LANES: u32 = 8u;

// (A workgroup has at most 128 lanes; naga cannot size this by an override.)
var<workgroup> of_lanes: array<TileSum, 128>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    if (is_behind(workgroup * (WORKGROUP_SIZE / TILE_LANES))) {
        return;
    }
    let lane_of_all = workgroup * WORKGROUP_SIZE + lane;
    let tile = find_tile(lane_of_all / TILE_LANES);
    let tensor = load_tensor(tile.tensor);
    let hyper = load_hyper(tensor);
    let axes = load_axes(tile.tensor);

    var sum: TileSum;
    // As an update's lanes, by pairs that lie 32 vec4s apart.
    for (var part = lane_of_all % TILE_LANES; part < 32u; part += TILE_LANES) {
        let exists_a = elems_at(tile, part, tensor);
        let exists_b = elems_at(tile, part + 32u, tensor);
        let a = place_of(tile, part, exists_a, lane, tensor);
        let b = place_of(tile, part + 32u, exists_b, lane, tensor);
        let grad_a = load_grad(a, tensor);
        let grad_b = load_grad(b, tensor);
        let param_a = load_param(a);
        let param_b = load_param(b);
        let slots = load_slots(a, b);
        let proposal_a = propose(param_a, grad_a, state_of(with_vectors(slots.a, axes, a, tensor)), tensor, hyper);
        let proposal_b = propose(param_b, grad_b, state_of(with_vectors(slots.b, axes, b, tensor)), tensor, hyper);
        let terms_a = terms(param_a, grad_a, proposal_a, tensor, hyper);
        let terms_b = terms(param_b, grad_b, proposal_b, tensor, hyper);
        let sum_a = summed(terms_a, proposal_a.direction, grad_a, exists_a);
        let sum_b = summed(terms_b, proposal_b.direction, grad_b, exists_b);
        sum += sum_a + sum_b;
    }
    of_lanes[lane] = sum;
    workgroupBarrier();
    if (lane < WORKGROUP_SIZE / TILE_LANES) {
        store_sum(workgroup * (WORKGROUP_SIZE / TILE_LANES) + lane, lane * TILE_LANES);
    }
}

// The sum of the tile of this number in the dispatch, by those of its lanes.
fn store_sum(n: u32, first: u32) {
    let tile = find_tile(n);
    let tensor = load_tensor(tile.tensor);
    let exists = elems_at(tile, 0u, tensor);
    if (exists != 0u) {
        var sum: TileSum;
        for (var l = first; l < first + TILE_LANES; l += 4u) {
            sum += (of_lanes[l] + of_lanes[l + 1u]) + (of_lanes[l + 2u] + of_lanes[l + 3u]);
        }
        let place = place_of(tile, 0u, exists, 0u, tensor);
        store_tile_sum(tile.tensor, place, tensor, four_sums(sum));
    }
}

// The sum of the elements that exist.
fn existing(value: vec4<f32>, count: u32) -> f32 {
    let counted = select(vec4<f32>(), value, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
    return (counted.x + counted.y) + (counted.z + counted.w);
}
