// ASGD: gradient descent and the average of its iterates (Polyak and Juditsky 1992, "Acceleration of Stochastic
// Approximation by Averaging"; schedule of Bottou 2010, "Large-Scale Machine Learning with Stochastic Gradient
// Descent"; order of operations of torch.optim.ASGD).
//
//   g     <- grad + weight_decay * param       only if weight_decay is not 0: 0 * inf is NaN
//   param <- param * (1 - lambd * eta) - eta * g
//   ax    <- param if mu is 1, else  ax + (param - ax) * mu
//   eta   <- lr / (1 + lambd * lr * t)^alpha   behind the step; before the tensor's first it is lr
//   mu    <- 1 / max(1, t - t0)                behind the step; before the tensor's first it is 1
//
// State slots: 0 ax. Kept for the tensor: eta, mu, and behind them those of this step.

struct Hyper {
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
    padding3: vec4<f32>,
}

struct StepHyper {
    lambd: f32,
    // -alpha as a sum: the first has few bits.
    exponent_high: f32,
    exponent_low: f32,
    // t0 as a sum: the first is whole.
    t0_whole: f32,
    t0_rest: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    eta: f32,
    // 1 - lambd * eta
    decay: f32,
    mu: f32,
    padding0: f32,
}

struct State {
    ax: vec4<f32>,
}

fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32> {
    let now = select(kept.tensor.xy, vec2<f32>(lr, 1.0), t == 1.0);
    let growth = 1.0 + hyper.lambd * lr * t;
    let eta = lr * power(growth, hyper.exponent_high, hyper.exponent_low);
    let averaged = (t - hyper.t0_whole) - hyper.t0_rest;
    var mu = 1.0;
    if (averaged > 1.0) {
        mu = 1.0 / averaged;
    }
    return vec4<f32>(eta, mu, now);
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let eta = kept.tensor.z;
    return Scalars(eta, 1.0 - hyper.lambd * eta, kept.tensor.w, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    let moved = param * tensor.scalars.decay - tensor.scalars.eta * decayed;
    let averaged = state.ax + (moved - state.ax) * tensor.scalars.mu;
    return Proposal(decayed, State(select(averaged, moved, tensor.scalars.mu == 1.0)));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param * tensor.scalars.decay - tensor.scalars.eta * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.ax;
    return slots;
}
