// Traffic: moves what a rule moves, and computes nothing. For benchmarks.
//
//   word <- word ^ (another of the lane's words & mask)       mask = 0
//
// Joined like a rule, so that every load and store of the step goes through the same bindings in
// the same order; the time of this kernel divided by the step's is the step's roofline. Formats are
// replaced by those of this folder, which move words as they are: no codes are made or read. The mask,
// which is 0 but not known to be, keeps every load and store alive; nothing changes. (It is 0 unless the
// last step set gradients to zero.)

// Opaque here: the rule's constants are not looked at.
struct Hyper {
    words0: vec4<f32>,
    words1: vec4<f32>,
}

struct Scalars {
    padding0: vec4<f32>,
}

struct State {
    slots: Slots,
}

fn mixed(value: vec4<f32>, other: vec4<f32>, tensor: Tensor) -> vec4<f32> {
    let mask = vec4<u32>(0u - tensor.hyper / ZERO_GRAD);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) ^ (bitcast<vec4<u32>>(other) & mask));
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let slots = state.slots;
    let seen = bitcast<vec4<f32>>(bitcast<vec4<u32>>(slots.row) ^ bitcast<vec4<u32>>(slots.column));
    return Proposal(mixed(mixed(param, grad, tensor), seen, tensor), State(Slots(
        mixed(slots.slot0, param, tensor),
        mixed(slots.slot1, param, tensor),
        mixed(slots.slot2, param, tensor),
        mixed(slots.slot3, param, tensor),
        mixed(slots.slot4, param, tensor),
        mixed(slots.slot5, param, tensor),
        mixed(slots.slot6, param, tensor),
        mixed(slots.slot7, param, tensor),
        slots.row,
        slots.column,
    )));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return direction;
}

// In the place of functions/gradient.wgsl: gradients are moved as they are.
fn load_grad(place: Place, tensor: Tensor) -> vec4<f32> {
    return bitcast<vec4<f32>>(grad_codes(place.grad, place.count));
}

fn explains_infinity(grad: vec4<f32>) -> vec4<bool> {
    return vec4<bool>(true);
}

fn clear_grad(place: Place, exists: u32, tensor: Tensor) {}

fn state_of(slots: Slots) -> State {
    return State(slots);
}

fn slots_of(state: State) -> Slots {
    return state.slots;
}
