// NAdam: Adam with Nesterov momentum on a schedule (Dozat 2016, "Incorporating Nesterov Momentum into Adam";
// order of operations of torch.optim.NAdam).
//
//   mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
//   P     <- P * mu(t)                         1 before the first step
//   g     <- grad + weight_decay * param       without decoupled decay, and not 0: 0 * inf is NaN
//   param <- param * (1 - lr * weight_decay)   with it
//   m     <- lerp(m, g, 1 - beta1)
//   v     <- beta2 * v + (1 - beta2) * g^2
//   d     <- sqrt(v) / sqrt(1 - beta2^t) + eps
//   param <- param - lr * (1 - mu(t)) / (1 - P) * g / d - lr * mu(t+1) / (1 - P * mu(t+1)) * m / d
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v). Kept for the tensor: mu_product (P).

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    // The L2 penalty: 0 where the decay is decoupled.
    l2: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct StepHyper {
    beta1: f32,
    one_minus_beta1: f32,
    ln_beta2: f32,
    // ln 0.96 * momentum_decay
    ln_momentum_decay: f32,
    // The decoupled decay: 0 where it is an L2 penalty.
    decoupled: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    // What multiplies g / d and m / d.
    grad_size: f32,
    avg_size: f32,
    bias_correction2_rsqrt: f32,
    decay: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
}

// 0.96^(t * momentum_decay) / 2
fn half_decayed(t: f32, hyper: StepHyper) -> f32 {
    return 0.5 * (expm1(t * hyper.ln_momentum_decay) + 1.0);
}

fn mu(t: f32, hyper: StepHyper) -> f32 {
    return hyper.beta1 * (1.0 - half_decayed(t, hyper));
}

fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32> {
    return vec4<f32>(select(kept.tensor.x, 1.0, t == 1.0) * mu(t, hyper), kept.tensor.yzw);
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let mu_product = kept.tensor.x;
    let mu_next = mu(t + 1.0, hyper);
    // Without cancellation where beta1 is close to 1.
    let one_minus_mu = hyper.one_minus_beta1 + hyper.beta1 * half_decayed(t, hyper);
    return Scalars(
        lr * one_minus_mu / (1.0 - mu_product),
        lr * mu_next / (1.0 - mu_product * mu_next),
        inverseSqrt(bias_correction(t, hyper.ln_beta2)),
        1.0 - lr * hyper.decoupled,
    );
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.l2);
    let exp_avg = lerp(state.exp_avg, decayed, hyper.one_minus_beta1);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * decayed * decayed;
    let denominator = sqrt(exp_avg_sq) * tensor.scalars.bias_correction2_rsqrt + hyper.eps;
    let blend = tensor.scalars.grad_size * decayed + tensor.scalars.avg_size * exp_avg;
    return Proposal(blend / denominator, State(exp_avg, exp_avg_sq));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - direction;
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
