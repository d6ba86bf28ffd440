// LARS: SGD with a step for each tensor in proportion to its norm (You et al. 2017, "Large Batch Training of
// Convolutional Networks", algorithm 1; order of operations of optax.lars).
//
//   u     <- grad + weight_decay * param       only if weight_decay is not 0: 0 * inf is NaN
//   trust <- trust_coefficient * |param| / (|u| + eps)     over the tensor; 1 if either norm is 0, infinite or NaN
//   b     <- momentum * b - lr * trust * u
//   param <- param + b                         with NESTEROV, param + momentum * b - lr * trust * u
//
// (optax has 1 for 0 only: there one infinite element makes its whole tensor infinite.)
//
// State slot 0: momentum_buffer (b), only with MOMENTUM. The learning rate is in it.

override MOMENTUM: bool = false;
override NESTEROV: bool = false;

struct Hyper {
    weight_decay: f32,
    momentum: f32,
    padding0: f32,
    padding1: f32,
    padding2: vec4<f32>,
}

struct StepHyper {
    trust_coefficient: f32,
    eps: f32,
    padding0: f32,
    padding1: f32,
    padding2: vec4<f32>,
}

struct Scalars {
    // lr; behind `decide`, lr * trust
    step_size: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct State {
    momentum_buffer: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 0.0, 0.0, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let scaled = tensor.scalars.step_size * l2_penalized(grad, param, hyper.weight_decay);
    var buffer = state.momentum_buffer;
    var direction = scaled;
    if (MOMENTUM) {
        buffer = hyper.momentum * buffer - scaled;
        direction = -buffer;
    }
    if (NESTEROV) {
        direction = scaled - hyper.momentum * buffer;
    }
    return Proposal(direction, State(buffer));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    return Terms(param * param, decayed * decayed);
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    var decided = before;
    if (sum_is_positive(sums.x) && sum_is_positive(sums.y)) {
        let trust = hyper.trust_coefficient * sqrt(sums.x) / (sqrt(sums.y) + hyper.eps);
        decided.step_size = before.step_size * trust;
    }
    return decided;
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.momentum_buffer;
    return slots;
}
