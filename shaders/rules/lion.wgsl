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

struct StepHyper {
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
    padding3: vec4<f32>,
}

struct Scalars {
    lr: f32,
    decay: f32,
    padding0: f32,
    padding1: f32,
}

struct State {
    exp_avg: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 1.0 - lr * hyper.weight_decay, 0.0, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let direction = sign(hyper.beta1 * state.exp_avg + hyper.one_minus_beta1 * grad);
    let exp_avg = hyper.beta2 * state.exp_avg + hyper.one_minus_beta2 * grad;
    return Proposal(direction, State(exp_avg));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - tensor.scalars.lr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    return slots;
}
