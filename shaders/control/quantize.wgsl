// Quantize and dequantize: values into blocks of codes, and back. Joined like a rule, with the values in
// the place of the parameter and the blocks in that of its state.
//
//   STORES_SLOTS   blocks <- codes and scales of the values
//   STORES_PARAM   values <- what the blocks stand for
//
// One of the two is stored: each becomes the other. In the place of functions/gradient.wgsl: there is
// no gradient.

struct Hyper {
    padding0: vec4<f32>,
    padding1: vec4<f32>,
}

struct Scalars {
    padding0: vec4<f32>,
}

struct State {
    value: vec4<f32>,
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    return Proposal(state.value, State(param));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return direction;
}

fn load_grad(place: Place, tensor: Tensor) -> vec4<f32> {
    return vec4<f32>();
}

// The values' infinities are their own.
fn explains_infinity(grad: vec4<f32>) -> vec4<bool> {
    return vec4<bool>(true);
}

fn clear_grad(place: Place, exists: u32, tensor: Tensor) {}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.value;
    return slots;
}
