// The traffic of frames/reduce.wgsl: loads what it loads, and sums nothing. For benchmarks; in its place.
//
// The loaded words are stored if the last step set gradients to zero, which it must not: so every load is needed.

const TILE_LANES: u32 = 8u;

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
    let axes = load_axes(tile.tensor);
    var words = vec4<u32>();
    for (var part = lane_of_all % TILE_LANES; part < 32u; part += TILE_LANES) {
        let a = place_of(tile, part, elems_at(tile, part, tensor), lane, tensor);
        let b = place_of(tile, part + 32u, elems_at(tile, part + 32u, tensor), lane, tensor);
        words ^= bits(load_grad(a, tensor)) ^ bits(load_grad(b, tensor));
        words ^= bits(load_param(a)) ^ bits(load_param(b));
        let slots = load_slots(a, b);
        words ^= all_bits(with_vectors(slots.a, axes, a, tensor));
        words ^= all_bits(with_vectors(slots.b, axes, b, tensor));
    }
    if ((tensor.hyper & ZERO_GRAD) != 0u) {
        let place = place_of(tile, 0u, 4u, lane, tensor);
        store_tile_sum(tile.tensor, place, tensor, bitcast<vec4<f32>>(words));
    }
}

fn bits(value: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(value);
}

fn all_bits(slots: Slots) -> vec4<u32> {
    return bits(slots.slot0) ^ bits(slots.slot1) ^ bits(slots.slot2) ^ bits(slots.slot3)
        ^ bits(slots.slot4) ^ bits(slots.slot5) ^ bits(slots.slot6) ^ bits(slots.slot7)
        ^ bits(slots.row) ^ bits(slots.column);
}
