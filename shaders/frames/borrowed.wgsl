// The borrowed frame: as the arena frame, but parameters and gradients lie wherever their owner
// put them; only the state lies in buffers of ours.
//
//   param[i], state[i] = rule(param[i], grad[i], state[i], tensor)      for every element i
//
// A chunk is up to 256 consecutive elements of one tensor, given to 32 lanes. It names its tensor
// and where in the tensor it begins; the tensor's record says where the tensor begins in the
// parameter, gradient and state buffers, so that a lane looks up three words and not five.
//
// Joined with: as arena.wgsl. Where parameter and gradient lie in one buffer the gradient
// codec is codecs/grad_shared.wgsl, and binding 3 holds a dummy. The last chunk of a tensor whose
// length is no multiple of four goes through the `_scalar` codecs, which never touch a byte
// outside of the tensor.
//
// Bindings (group 0):
//   0 tensors   per-tensor records of this step, written by control/advance.wgsl
//   1 chunks    exactly the chunks of this dispatch
//   2 param, 3 grad, 4..6 state slots: windows of buffers
//   7 hypers    the rule's constants, for each distinct set of them
//   8 window    where these windows begin
//
// Everything is bound read_write: WebGPU rejects a buffer that is bound read and read_write in the
// same dispatch, even for ranges that do not overlap.

// Lanes of a chunk of 256 elements: two vec4s each.
const BLOCK_LANES: u32 = 32u;
// Lanes of a workgroup; a multiple of BLOCK_LANES.
override WORKGROUP_SIZE: u32 = 256u;
// Workgroups in one row of the dispatch: more than the device's limit fold into the y dimension.
override ROW_WORKGROUPS: u32 = 32768u;

struct Chunk {
    tensor: u32,
    // First vec4 of the chunk, counted from the tensor's first element.
    first_vec4: u32,
    // Elements in the chunk, 1 to 256.
    len_elems: u32,
}

struct Window {
    // The vec4 of the whole buffer at which each binding begins.
    param_vec4: u32,
    grad_vec4: u32,
    state_vec4: u32,
    padding0: u32,
}

@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read_write> param: array<ParamWord>;
@group(0) @binding(3) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(4) var<storage, read_write> slot0: array<SlotWord>;
@group(0) @binding(5) var<storage, read_write> slot1: array<SlotWord>;
@group(0) @binding(6) var<storage, read_write> slot2: array<SlotWord>;
@group(0) @binding(7) var<uniform> hypers: array<Hyper, 512>;
@group(0) @binding(8) var<uniform> window: Window;

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
    let index = workgroup * WORKGROUP_SIZE + lane;
    let inside = index / BLOCK_LANES < arrayLength(&chunks);
    let chunk = chunks[select(0u, index / BLOCK_LANES, inside)];
    let tensor = load_tensor(chunk.tensor);
    let hyper = load_hyper(tensor);

    // Neighbouring lanes own neighbouring vec4s, in both halves of the chunk.
    let live = inside && tensor.step != 0u;
    let count_a = select(0u, elems_of(chunk, index % BLOCK_LANES), live);
    let count_b = select(0u, elems_of(chunk, index % BLOCK_LANES + BLOCK_LANES), live);
    // A vec4 without elements stands for the chunk's first: it is loaded, and never stored.
    let a = chunk.first_vec4 + select(0u, index % BLOCK_LANES, count_a != 0u);
    let b = chunk.first_vec4 + select(0u, index % BLOCK_LANES + BLOCK_LANES, count_b != 0u);
    let param_0 = tensor.param_vec4 - window.param_vec4;
    let grad_0 = tensor.grad_vec4 - window.grad_vec4;
    let state_0 = tensor.state_vec4 - window.state_vec4;

    // Every load before every store: the compiler may not move one across the other.
    let grad_a = load_grad(grad_0 + a, count_a) * tensor.grad_scale;
    let grad_b = load_grad(grad_0 + b, count_b) * tensor.grad_scale;
    let param_a = load_param(param_0 + a, count_a);
    let param_b = load_param(param_0 + b, count_b);
    let state_a = load_state(state_0 + a);
    let state_b = load_state(state_0 + b);
    let updated_a = rule(param_a, grad_a, state_a, tensor, hyper);
    let updated_b = rule(param_b, grad_b, state_b, tensor, hyper);
    store_param(param_0 + a, updated_a.param, count_a);
    store_param(param_0 + b, updated_b.param, count_b);
    store_state(state_0 + a, updated_a.state, count_a);
    store_state(state_0 + b, updated_b.state, count_b);
}

// Elements of the chunk's n-th vec4: 4, fewer in the one that holds the tensor's end, 0 behind it.
fn elems_of(chunk: Chunk, n: u32) -> u32 {
    return min(chunk.len_elems - min(n * 4u, chunk.len_elems), 4u);
}
