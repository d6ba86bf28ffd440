// Adadelta (Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method"; order of operations of
// torch.optim.Adadelta).
//
//   g     <- grad + weight_decay * param       only if weight_decay is not 0: 0 * inf is NaN
//   s     <- rho * s + (1 - rho) * g^2
//   d     <- sqrt(a + eps) / sqrt(s + eps) * g
//   a     <- rho * a + (1 - rho) * d^2
//   param <- param - lr * d
//
// One root of a quotient, and its square without the root: closer to the formula than torch's two roots, and cheaper.
// With torch's eps the quotient is a normal number for gradients up to 1e16.
//
// State slots: 0 square_avg (s), 1 acc_delta (a).

struct Hyper {
    rho: f32,
    one_minus_rho: f32,
    eps: f32,
    weight_decay: f32,
    padding0: vec4<f32>,
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
    square_avg: vec4<f32>,
    acc_delta: vec4<f32>,
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
    let square_avg = hyper.rho * state.square_avg + hyper.one_minus_rho * decayed * decayed;
    let ratio = (state.acc_delta + hyper.eps) / (square_avg + hyper.eps);
    let squared = ratio * decayed * decayed;
    let acc_delta = hyper.rho * state.acc_delta + hyper.one_minus_rho * squared;
    return Proposal(sqrt(ratio) * decayed, State(square_avg, acc_delta));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.lr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.square_avg;
    slots.slot1 = state.acc_delta;
    return slots;
}
