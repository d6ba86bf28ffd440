// Sophia-G (Liu et al. 2023, "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training";
// order of operations of sophia-opt's SophiaG).
//
//   h <- beta2 * h + (1 - beta2) * estimate            where the runtime hands in an estimate of the Hessian's diagonal
//   m <- beta1 * m + (1 - beta1) * grad
//   param <- param * (1 - lr * weight_decay) - lr * clamp(m / max(rho * h, eps), -1, 1)
//
// (sophia-opt adds eps to rho * h, and an estimate below zero turns the direction around there; the paper has max.)
//
// State slots: 0 exp_avg (m), 1 hessian (h).

struct Hyper {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    rho: f32,
    eps: f32,
    padding0: f32,
    padding1: f32,
}

struct StepHyper {
    weight_decay: f32,
    padding0: f32,
    padding1: vec2<f32>,
    padding2: vec4<f32>,
}

struct Scalars {
    lr: f32,
    // Multiplies the parameter.
    decay: f32,
    padding0: f32,
    padding1: f32,
}

struct State {
    exp_avg: vec4<f32>,
    hessian: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 1.0 - lr * hyper.weight_decay, 0.0, 0.0);
}

fn estimate(value: vec4<f32>, state: State, hyper: Hyper) -> State {
    return State(state.exp_avg, hyper.beta2 * state.hessian + hyper.one_minus_beta2 * value);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let exp_avg = hyper.beta1 * state.exp_avg + hyper.one_minus_beta1 * grad;
    let size = max(hyper.rho * state.hessian, vec4<f32>(hyper.eps));
    // No quotient is above 1, and so none leaves the range of f32.
    let direction = select(exp_avg / size, sign(exp_avg), abs(exp_avg) >= size);
    return Proposal(direction, State(exp_avg, state.hessian));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - tensor.scalars.lr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.hessian;
    return slots;
}
