// Adan: Adam with Nesterov momentum by the difference of gradients (Xie et al. 2022, "Adan: Adaptive Nesterov Momentum
// Algorithm for Faster Optimizing Deep Models", algorithm 1; order of operations of sail-sg/Adan).
//
//   d     <- grad - the tensor's gradient before                  0 in its first step
//   m     <- lerp(m, grad, 1 - beta1)
//   delta <- lerp(delta, d, 1 - beta2)
//   n     <- beta3 * n + (1 - beta3) * (grad + beta2 * d)^2
//   u     <- (m / (1 - beta1^t) + beta2 * delta / (1 - beta2^t)) / (sqrt(n) / sqrt(1 - beta3^t) + eps)
//   param <- (param - lr * u) / (1 + lr * weight_decay)           or, with no_prox
//   param <- param * (1 - lr * weight_decay) - lr * u
//
// (The division of the former is a factor of both terms here.)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (n), 2 exp_avg_diff (delta), 3 neg_pre_grad (the gradient, negated).

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    beta3: f32,
    one_minus_beta3: f32,
    eps: f32,
    padding0: f32,
    padding1: f32,
}

struct StepHyper {
    ln_beta1: f32,
    beta2: f32,
    ln_beta2: f32,
    ln_beta3: f32,
    // The weight decay, of which one is 0: behind the update, or with it.
    proximal: f32,
    decoupled: f32,
    padding0: f32,
    padding1: f32,
}

struct Scalars {
    // What multiplies m and delta.
    avg_size: f32,
    diff_size: f32,
    bias_correction3_rsqrt: f32,
    decay: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    exp_avg_diff: vec4<f32>,
    neg_pre_grad: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    // 1.0 / 1.0 need not be 1.
    let shrink = select(1.0 / (1.0 + lr * hyper.proximal), 1.0, lr * hyper.proximal == 0.0);
    return Scalars(
        lr / bias_correction(t, hyper.ln_beta1) * shrink,
        lr * hyper.beta2 / bias_correction(t, hyper.ln_beta2) * shrink,
        inverseSqrt(bias_correction(t, hyper.ln_beta3)),
        (1.0 - lr * hyper.decoupled) * shrink,
    );
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let difference = select(grad + state.neg_pre_grad, vec4<f32>(), tensor.step == 1u);
    let exp_avg = lerp(state.exp_avg, grad, hyper.one_minus_beta1);
    let exp_avg_diff = lerp(state.exp_avg_diff, difference, hyper.one_minus_beta2);
    let ahead = grad + hyper.beta2 * difference;
    let exp_avg_sq = hyper.beta3 * state.exp_avg_sq + hyper.one_minus_beta3 * ahead * ahead;
    let blend = tensor.scalars.avg_size * exp_avg + tensor.scalars.diff_size * exp_avg_diff;
    let denominator = sqrt(exp_avg_sq) * tensor.scalars.bias_correction3_rsqrt + hyper.eps;
    return Proposal(blend / denominator, State(exp_avg, exp_avg_sq, exp_avg_diff, -grad));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2, slots.slot3);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    slots.slot2 = state.exp_avg_diff;
    slots.slot3 = state.neg_pre_grad;
    return slots;
}
