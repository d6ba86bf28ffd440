// The borrowed frame: as the arena frame, but parameters and gradients lie wherever their owner
// put them; only state and master copies lie in buffers of ours.
//
//   param[i], state[i] = rule(param[i], grad[i], state[i], tensor)      for every element i
//
// A chunk is up to 256 consecutive elements of one tensor, given to 32 lanes. It names its tensor
// and where in the tensor it begins; the tensor's record says where the tensor begins in the
// parameter, gradient and state buffers, so that a lane looks up three words and not five.
//
// Joined with: as arena.wgsl. Where parameter and gradient lie in one buffer, words/grad_shared.wgsl
// or grad_in_param.wgsl reaches both through binding 2, and binding 3 holds a dummy. The last chunk
// of a tensor whose length is no multiple of four goes through the `_scalar` words, which never touch
// an element outside of the tensor.
//
// Bindings (group 0):
//   0 tensors   per-tensor records of this step, written by control/advance.wgsl
//   1 chunks    exactly the chunks of this dispatch
//   2 param, 3 grad, 4 state: windows of buffers
//   5 master    master copy or remainder of the parameter, windowed as the state
//   6 hypers    the rule's constants, for each distinct set of them
//   7 window    where these windows begin
//
// Control flow is uniform within a workgroup, so codecs may use workgroup barriers.
//
// Everything is bound read_write: WebGPU rejects a buffer that is bound read and read_write in the
// same dispatch, even for ranges that do not overlap.

// Lanes of a chunk of 256 elements: two vec4s each.
const BLOCK_LANES: u32 = 32u;
// Lanes of a workgroup; a multiple of BLOCK_LANES.
override WORKGROUP_SIZE: u32 = 256u;
// Workgroups in one row of the dispatch: more than the device's limit fold into the y dimension.
override ROW_WORKGROUPS: u32 = 32768u;
// What is stored: both by a step, one by control/quantize.wgsl.
override STORES_PARAM: bool = true;
override STORES_SLOTS: bool = true;

@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
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
    if (workgroup * (WORKGROUP_SIZE / BLOCK_LANES) >= arrayLength(&chunks)) {
        return;
    }
    let lane_of_all = workgroup * WORKGROUP_SIZE + lane;
    let inside = lane_of_all / BLOCK_LANES < arrayLength(&chunks);
    let chunk = chunks[select(0u, lane_of_all / BLOCK_LANES, inside)];
    let tensor = load_tensor(chunk.tensor);
    let hyper = load_hyper(tensor);

    // Neighbouring lanes own neighbouring vec4s, in both halves of the chunk.
    let n = lane_of_all % BLOCK_LANES;
    let exists_a = select(0u, elems_of(chunk.len_elems, n), inside);
    let exists_b = select(0u, elems_of(chunk.len_elems, n + BLOCK_LANES), inside);
    let a = place_of(chunk, n, exists_a, lane, tensor);
    let b = place_of(chunk, n + BLOCK_LANES, exists_b, lane, tensor);

    // Every load before every store: the compiler may not move one across the other.
    let grad_a = load_grad(a, tensor);
    let grad_b = load_grad(b, tensor);
    let param_a = load_param(a);
    let param_b = load_param(b);
    let slots = load_slots(a, b);
    let updated_a = rule(param_a, grad_a, state_of(slots.a), tensor, hyper);
    let updated_b = rule(param_b, grad_b, state_of(slots.b), tensor, hyper);
    if (STORES_PARAM) {
        store_param(a, updated_a.param, tensor);
        store_param(b, updated_b.param, tensor);
    }
    clear_grad(a, exists_a, tensor);
    clear_grad(b, exists_b, tensor);
    // Last, since it may wait at barriers: what is done by then needs no registers.
    if (STORES_SLOTS) {
        store_slots(a, b, bounded(slots_of(updated_a.state), grad_a), bounded(slots_of(updated_b.state), grad_b), tensor);
    }
}

// The chunk's n-th vec4. One without elements stands for the chunk's first: it is loaded, and never
// stored.
fn place_of(chunk: Chunk, n: u32, exists: u32, lane: u32, tensor: Tensor) -> Place {
    let part = select(0u, n, exists != 0u);
    let index = chunk.first_vec4 + part;
    return Place(
        tensor.param_vec4 - window.param_vec4 + index,
        tensor.grad_vec4 - window.grad_vec4 + index,
        (tensor.state_vec4 - window.state_vec4 + chunk.first_vec4) / 64u,
        part,
        index,
        select(0u, exists, tensor.step != 0u),
        lane,
    );
}
