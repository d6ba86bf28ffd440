// LAMB: Adam with a step for each tensor in proportion to its norm (You et al. 2020, "Large Batch Optimization
// for Deep Learning: Training BERT in 76 minutes", algorithm 2; order of operations of optax.lamb).
//
//   m <- lerp(m, grad, 1 - beta1)
//   v <- beta2 * v + (1 - beta2) * grad^2
//   u <- m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay * param
//   trust <- |param| / |u|     over the tensor; 1 if either norm is 0, infinite or NaN
//   param <- param - lr * trust * u
//
// (optax has 1 for 0 only: there one infinite element makes its whole tensor infinite.)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v).

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
    // lr; behind `decide`, lr * trust
    step_size: f32,
    bias_correction1_rcp: f32,
    bias_correction2_rsqrt: f32,
    padding0: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let bias_correction2_rsqrt = inverseSqrt(bias_correction(t, hyper.ln_beta2));
    return Scalars(lr, 1.0 / bias_correction(t, hyper.ln_beta1), bias_correction2_rsqrt, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let exp_avg = lerp(state.exp_avg, grad, hyper.one_minus_beta1);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * grad * grad;
    let denominator = sqrt(exp_avg_sq) * tensor.scalars.bias_correction2_rsqrt + hyper.eps;
    let adam = exp_avg * tensor.scalars.bias_correction1_rcp / denominator;
    let decayed = l2_penalized(adam, param, hyper.weight_decay);
    return Proposal(decayed, State(exp_avg, exp_avg_sq));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    return Terms(param * param, proposal.direction * proposal.direction);
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    var decided = before;
    if (sum_is_positive(sums.x) && sum_is_positive(sums.y)) {
        decided.step_size = before.step_size * (sqrt(sums.x) / sqrt(sums.y));
    }
    return decided;
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.step_size * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    return slots;
}
