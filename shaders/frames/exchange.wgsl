// The frame of an exchange: parameters give way to what they are evaluated at, and come back to the bit.
//
//   kept[i]  <- param[i],  param[i] <- nearest code of evaluated(i)      with TO_EVALUATE
//   param[i] <- kept[i]                                                   without
//
// What is kept are codes, in the place of the gradient and in the parameter's format. Nothing else is written: state
// and master copies are those of the last step. Of tensors that have nothing to be evaluated at yet, whose record
// has step 0, nothing is.
//
// Joined with: as update.wgsl, and functions/evaluated_average.wgsl or evaluated_by_rule.wgsl.
//
// Bindings (group 0): those of update.wgsl.

// Lanes of a tile of 256 elements.
override TILE_LANES: u32 = 64u / LANE_VEC4S;
override TO_EVALUATE: bool = true;

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
    let part = lane_of_all % TILE_LANES;
    let a = place_of(tile, part, elems_at(tile, part, tensor), lane, tensor);
    let b = place_of(tile, part + 32u, second_elems_at(tile, part + 32u, tensor), lane, tensor);
    if (TO_EVALUATE) {
        let kept_a = param_codes(a.param, a.count);
        let kept_b = param_codes(b.param, b.count);
        let values = evaluated_both(a, b, load_axes(tile.tensor), tensor);
        set_grad_codes(a.grad, kept_a, a.count);
        set_grad_codes(b.grad, kept_b, b.count);
        set_param_codes(a.param, encode_param(values.a), a.count);
        set_param_codes(b.param, encode_param(values.b), b.count);
    } else {
        set_param_codes(a.param, grad_codes(a.grad, a.count), a.count);
        set_param_codes(b.param, grad_codes(b.grad, b.count), b.count);
    }
}
