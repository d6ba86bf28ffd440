// The frame of an update: one lane updates two vec4s of every role, or one.
//
//   direction, state[i] = propose(param[i], grad[i], state[i], tensor, hyper)      for every element i
//   param[i]            = apply(param[i], direction, tensor, hyper)
//
// A tile of 256 elements of one tensor is given to 32 lanes, or 64. Which tensor that is and where its parameter,
// gradient and state lie says frames/arena.wgsl or frames/borrowed.wgsl. What is equal for all elements of a
// tensor says its record. (Measured on Mesa's software driver: to find tensor and record costs 15 % of
// an AdamW step for a lane with one vec4, and half of that for a lane with two.)
//
// Joined with: roles.wgsl; arena.wgsl or borrowed.wgsl; a rule (see fallline_shaders); for parameter and
// gradient packing, format and codec; a precision; a codec for the state; structs/{tensor,place,slots,
// proposal}.wgsl, functions/gradient.wgsl, functions/no_update_sums.wgsl or update_sums.wgsl, tables/hyper.wgsl, and tables/tensors_uniform.wgsl or
// tensors_storage.wgsl.
//
// Bindings (group 0), beside those of roles.wgsl:
//   0 tensors   per-tensor records of this step, written by control/advance.wgsl
//   1 tiles     what each tile of the dispatch is: arena.wgsl, borrowed.wgsl
//   7           arena.wgsl, borrowed.wgsl
//
// Control flow is uniform within a workgroup, so codecs may use workgroup barriers.

// Lanes of a tile of 256 elements.
override TILE_LANES: u32 = 64u / LANE_VEC4S;
// What is stored: both by a step, one by control/quantize.wgsl.
override STORES_PARAM: bool = true;
override STORES_SLOTS: bool = true;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (is_behind(workgroup * (WORKGROUP_SIZE / TILE_LANES))) {
        return;
    }
    let lane_of_all = workgroup * WORKGROUP_SIZE + lane;
    let tile = find_tile(lane_of_all / TILE_LANES);
    let tensor = load_tensor(tile.tensor);
    let hyper = load_hyper(tensor);
    let axes = load_axes(tile.tensor);

    // Neighbouring lanes own neighbouring vec4s, in both halves of the tile.
    let part = lane_of_all % TILE_LANES;
    let exists_a = elems_at(tile, part, tensor);
    let exists_b = second_elems_at(tile, part + 32u, tensor);
    let a = place_of(tile, part, exists_a, lane, tensor);
    let b = place_of(tile, part + 32u, exists_b, lane, tensor);

    // Every load before every store: the compiler may not move one across the other.
    let grad_a = load_grad(a, tensor);
    let grad_b = load_grad(b, tensor);
    let param_a = load_param(a);
    let param_b = load_param(b);
    let slots = load_slots(a, b);
    let after_a = load_after(a, tensor);
    let after_b = load_after(b, tensor);
    let proposal_a = propose(param_a, grad_a, state_of(with_vectors(slots.a, axes, a, tensor)), tensor, hyper);
    let proposal_b = propose(param_b, grad_b, state_of(with_vectors(slots.b, axes, b, tensor)), tensor, hyper);
    if (STORES_PARAM) {
        let new_a = apply(param_a, steered(proposal_a.direction, grad_a, tensor), tensor, hyper);
        let new_b = apply(param_b, steered(proposal_b.direction, grad_b, tensor), tensor, hyper);
        store_param(a, after(a, param_a, new_a, after_a, tensor), tensor);
        store_param(b, after(b, param_b, new_b, after_b, tensor), tensor);
    }
    clear_grad(a, exists_a, tensor);
    clear_grad(b, exists_b, tensor);
    // Last, since it may wait at barriers: what is done by then needs no registers.
    if (STORES_SLOTS) {
        let of_a = bounded(slots_of(proposal_a.state), grad_a);
        let of_b = bounded(slots_of(proposal_b.state), grad_b);
        store_slots(a, b, of_a, of_b, tensor);
    }
    store_update_sums(workgroup, a, b, param_a, param_b);
}
