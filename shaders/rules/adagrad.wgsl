// Adagrad (Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic
// Optimization"; order of operations of torch.optim.Adagrad).
//
//   g     <- grad + weight_decay * param       only if weight_decay is not 0: 0 * inf is NaN
//   sum   <- sum + g^2                         initial_accumulator_value before the tensor's first step
//   param <- param - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)
//
// State slots: 0 sum.

struct Hyper {
    eps: f32,
    weight_decay: f32,
    initial_accumulator_value: f32,
    padding0: f32,
    padding1: vec4<f32>,
}

struct StepHyper {
    lr_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
    padding3: vec4<f32>,
}

struct Scalars {
    // lr / (1 + (t - 1) * lr_decay)
    step_size: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct State {
    sum: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr / (1.0 + (t - 1.0) * hyper.lr_decay), 0.0, 0.0, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    let initial = vec4<f32>(hyper.initial_accumulator_value);
    let sum = select(state.sum, initial, tensor.step == 1u) + decayed * decayed;
    let direction = tensor.scalars.step_size * decayed / (sqrt(sum) + hyper.eps);
    return Proposal(direction, State(sum));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.sum;
    return slots;
}
