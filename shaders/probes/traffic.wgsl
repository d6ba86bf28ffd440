// Traffic: moves what a rule moves, and computes nothing. For benchmarks.
//
//   param <- grad + last slot,  slot 0 <- param,  slot 1 <- slot 0,  slot 2 <- slot 1
//
// Joined like a rule, so that every load and store of the step goes through the same bindings in
// the same order; the time of this kernel divided by the step's is the step's roofline. The one
// addition keeps the loads alive; a plain copy of each word to itself would be removed.
//
// With SLOTS 0: param <- grad + param.

// Opaque here: the rule's constants are not looked at.
struct Hyper {
    words0: vec4<f32>,
    words1: vec4<f32>,
}

struct State {
    slot0: vec4<f32>,
    slot1: vec4<f32>,
    slot2: vec4<f32>,
}

fn rule(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Updated {
    var last = param;
    if (SLOTS == 1u) {
        last = state.slot0;
    } else if (SLOTS == 2u) {
        last = state.slot1;
    } else if (SLOTS == 3u) {
        last = state.slot2;
    }
    return Updated(grad + last, State(param, state.slot0, state.slot1));
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2);
}

fn slots_of(state: State) -> Slots {
    return Slots(state.slot0, state.slot1, state.slot2);
}
