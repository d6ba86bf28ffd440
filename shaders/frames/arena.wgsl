// The arena frame: one lane updates two vec4s of every role.
//
//   param[i], state[i] = rule(param[i], grad[i], state[i], tensor)      for every element i
//
// In the arena a tensor begins at a multiple of 256 elements (a block) and has the same element
// index in every role, so a lane needs no offsets: its global index tells which elements it owns.
// One u32 for each block names the tensor; the tensor's record holds everything that is equal for
// all of its elements. (Measured on Mesa's software driver: to read table and record costs 15 % of
// an AdamW step for a lane with one vec4, and half of that for a lane with two.)
//
// Joined with: a rule (State, Hyper, rule, state_of, slots_of); for parameter and gradient words,
// format and codec; a precision; a codec for the state; shared/{tensor,place,slots,gradient,hyper,
// updated}.wgsl, and shared/tensors_uniform.wgsl or tensors_storage.wgsl.
//
// Bindings (group 0): every role is bound from the same block on, `blocks` with exactly as many
// entries as the window has blocks; state or a master copy that is not kept is bound to a dummy.
//   0 tensors   per-tensor records of this step, written by control/advance.wgsl
//   1 blocks    the tensor of each 256-element block
//   2 param, 3 grad
//   4 state     all slots: of each 256 elements one slot behind the other
//   5 master    master copy or remainder of the parameter
//   6 hypers    the rule's constants, for each distinct set of them
//   7 window    where these windows begin
//
// Invariants: the padding behind a tensor's last element belongs to that tensor; the part of it that
// lies in the tensor's last vec4 is written.
// Control flow is uniform within a workgroup, so codecs may use workgroup barriers.

// Lanes of a block of 256 elements: two vec4s each.
const BLOCK_LANES: u32 = 32u;
// Lanes of a workgroup; a multiple of BLOCK_LANES.
override WORKGROUP_SIZE: u32 = 256u;
// Workgroups in one row of the dispatch: more than the device's limit fold into the y dimension.
override ROW_WORKGROUPS: u32 = 32768u;

@group(0) @binding(1) var<storage, read> blocks: array<u32>;
@group(0) @binding(2) var<storage, read_write> param: array<ParamWord>;
@group(0) @binding(3) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(4) var<storage, read_write> state: array<StateWord>;
@group(0) @binding(5) var<storage, read_write> master: array<MasterWord>;
@group(0) @binding(6) var<uniform> hypers: array<Hyper, 512>;
@group(0) @binding(7) var<uniform> window: Window;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (workgroup * (WORKGROUP_SIZE / BLOCK_LANES) >= arrayLength(&blocks)) {
        return;
    }
    let lane_of_all = workgroup * WORKGROUP_SIZE + lane;
    let block = lane_of_all / BLOCK_LANES;
    let inside = block < arrayLength(&blocks);
    let tensor = load_tensor(blocks[select(0u, block, inside)]);
    let hyper = load_hyper(tensor);

    // Neighbouring lanes own neighbouring vec4s, in both halves of the block.
    let tile = select(0u, block, inside);
    let part = lane_of_all % BLOCK_LANES;
    let first = tile * 2u * BLOCK_LANES + part;
    let exists_a = select(0u, elems_at(first, tensor), inside);
    let exists_b = select(0u, elems_at(first + BLOCK_LANES, tensor), inside);
    let a = place_of(first, tile, part, exists_a, lane, tensor);
    let b = place_of(first + BLOCK_LANES, tile, part + BLOCK_LANES, exists_b, lane, tensor);

    // Every load before every store: the compiler may not move one across the other.
    let grad_a = load_grad(a, tensor);
    let grad_b = load_grad(b, tensor);
    let param_a = load_param(a);
    let param_b = load_param(b);
    let slots = load_slots(a, b);
    let updated_a = rule(param_a, grad_a, state_of(slots.a), tensor, hyper);
    let updated_b = rule(param_b, grad_b, state_of(slots.b), tensor, hyper);
    store_param(a, updated_a.param, tensor);
    store_param(b, updated_b.param, tensor);
    clear_grad(a, exists_a, tensor);
    clear_grad(b, exists_b, tensor);
    // Last, since it may wait at barriers: what is done by then needs no registers.
    store_slots(a, b, bounded(slots_of(updated_a.state), grad_a), bounded(slots_of(updated_b.state), grad_b), tensor);
}

// The vec4 of the window, counted from the tensor's first element.
fn index_of(at: u32, tensor: Tensor) -> u32 {
    return window.state_vec4 + at - tensor.state_vec4;
}

// How many elements of that vec4 exist; the others are padding.
fn elems_at(at: u32, tensor: Tensor) -> u32 {
    let index = index_of(at, tensor);
    let tail = select(0u, tensor.tail_elems, index == tensor.len_vec4);
    return select(tail, 4u, index < tensor.len_vec4);
}

fn place_of(at: u32, tile: u32, part: u32, exists: u32, lane: u32, tensor: Tensor) -> Place {
    let count = select(0u, exists, tensor.step != 0u);
    return Place(at, at, tile, part, index_of(at, tensor), count, lane);
}
