// Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2; order of
// operations of lion-pytorch).
//
//   param <- param * (1 - lr * weight_decay)
//   param <- param - lr * sign(beta1 * m + (1 - beta1) * grad)      sign(0) = 0
//   m     <- beta2 * m + (1 - beta2) * grad
//
// State slot 0: exp_avg (m).

struct Hyper {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    padding0: vec4<f32>,
}

struct State {
    exp_avg: vec4<f32>,
}

fn rule(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Updated {
    let direction = sign(hyper.beta1 * state.exp_avg + hyper.one_minus_beta1 * grad);
    let exp_avg = hyper.beta2 * state.exp_avg + hyper.one_minus_beta2 * grad;
    return Updated(param * tensor.decay - tensor.step_size * direction, State(exp_avg));
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    return slots;
}
