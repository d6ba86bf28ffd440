// SGD with momentum (Sutskever et al. 2013, "On the importance of initialization and momentum in
// deep learning"; order of operations of torch.optim.SGD).
//
//   g  <- grad + weight_decay * param        only if weight_decay is not 0: 0 * inf is NaN
//   b  <- g                                   in the tensor's first step (no dampening)
//   b  <- momentum * b + (1 - dampening) * g  afterwards
//   g  <- g + momentum * b with Nesterov, else b
//   param <- param - lr * g
//
// The sign of the gradient under `maximize` is turned before anything else.
// State slot 0: momentum_buffer, only with MOMENTUM.

override MOMENTUM: bool = false;
override NESTEROV: bool = false;

struct Hyper {
    weight_decay: f32,
    momentum: f32,
    one_minus_dampening: f32,
    padding0: f32,
    padding1: vec4<f32>,
}

struct StepHyper {
    padding0: vec4<f32>,
    padding1: vec4<f32>,
}

struct Scalars {
    lr: f32,
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
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    var buffer = state.momentum_buffer;
    var direction = decayed;
    if (MOMENTUM) {
        let averaged = hyper.momentum * buffer + hyper.one_minus_dampening * decayed;
        buffer = select(averaged, decayed, tensor.step == 1u);
        direction = buffer;
    }
    if (NESTEROV) {
        direction = decayed + hyper.momentum * buffer;
    }
    return Proposal(direction, State(buffer));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.lr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.momentum_buffer;
    return slots;
}
