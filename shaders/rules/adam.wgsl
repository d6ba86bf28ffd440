// Adam with L2 regularization (Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization",
// algorithm 1; order of operations of torch.optim.Adam).
//
//   g <- grad + weight_decay * param           only if weight_decay is not 0: 0 * inf is NaN
//   m <- lerp(m, g, 1 - beta1)
//   v <- beta2 * v + (1 - beta2) * g^2
//   v_max <- max(v_max, v)                    with AMSGRAD, and v_max for v below
//   param <- param - (lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v), 2 max_exp_avg_sq (v_max, only with AMSGRAD).

override AMSGRAD: bool = false;

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct StepHyper {
    ln_beta1: f32,
    ln_beta2: f32,
    padding0: f32,
    padding1: f32,
    padding2: vec4<f32>,
}

struct Scalars {
    step_size: f32,
    bias_correction2_rsqrt: f32,
    padding0: f32,
    padding1: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    max_exp_avg_sq: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let step_size = lr / bias_correction(t, hyper.ln_beta1);
    return Scalars(step_size, inverseSqrt(bias_correction(t, hyper.ln_beta2)), 0.0, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    let exp_avg = lerp(state.exp_avg, decayed, hyper.one_minus_beta1);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * decayed * decayed;
    var largest = exp_avg_sq;
    if (AMSGRAD) {
        largest = max_magnitude(state.max_exp_avg_sq, exp_avg_sq);
    }
    let denominator = sqrt(largest) * tensor.scalars.bias_correction2_rsqrt + hyper.eps;
    let direction = tensor.scalars.step_size * exp_avg / denominator;
    return Proposal(direction, State(exp_avg, exp_avg_sq, largest));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    slots.slot2 = state.max_exp_avg_sq;
    return slots;
}
