// The frame of an estimate: what a rule makes of an estimate of the Hessian's diagonal, which lies where gradients
// do. No parameter changes, and no step is counted.
//
//   value    = factor * grad[i], or factor * grad[i]^2 with SQUARES
//   state[i] = estimate(value, state[i], hyper)      for every element i whose value is finite
//
// Joined with: as update.wgsl, and a rule that has `estimate`. Records are those of control/enlist.wgsl, with the
// factor in the place of the gradient's.
//
// Bindings (group 0): those of update.wgsl.

override TILE_LANES: u32 = 64u / LANE_VEC4S;
// The Gauss-Newton-Bartlett estimate of gradients whose labels were drawn from the model.
override SQUARES: bool = false;

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

    let part = lane_of_all % TILE_LANES;
    let a = place_of(tile, part, elems_at(tile, part, tensor), lane, tensor);
    let b = place_of(tile, part + 32u, second_elems_at(tile, part + 32u, tensor), lane, tensor);

    let values_a = decode_grad(grad_codes(a.grad, a.count));
    let values_b = decode_grad(grad_codes(b.grad, b.count));
    let slots = load_slots(a, b);
    let of_a = with_estimate(with_vectors(slots.a, axes, a, tensor), values_a, tensor, hyper);
    let of_b = with_estimate(with_vectors(slots.b, axes, b, tensor), values_b, tensor, hyper);
    // No infinity is an estimate's own doing.
    store_slots(a, b, bounded(of_a, vec4<f32>()), bounded(of_b, vec4<f32>()), tensor);
}

// An estimate that is not finite would stay for good, and no step is skipped for it.
fn with_estimate(slots: Slots, values: vec4<f32>, tensor: Tensor, hyper: Hyper) -> Slots {
    let seen = tensor.grad_scale * select(values, values * values, SQUARES);
    let next = slots_of(estimate(seen, state_of(slots), hyper));
    let is_known = has_finite_bits(values) & has_finite_bits(seen);
    return Slots(
        select(slots.slot0, next.slot0, is_known),
        select(slots.slot1, next.slot1, is_known),
        select(slots.slot2, next.slot2, is_known),
        select(slots.slot3, next.slot3, is_known),
        select(slots.slot4, next.slot4, is_known),
        select(slots.slot5, next.slot5, is_known),
        select(slots.slot6, next.slot6, is_known),
        select(slots.slot7, next.slot7, is_known),
        slots.row,
        slots.column,
    );
}

fn has_finite_bits(value: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(value) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
}
