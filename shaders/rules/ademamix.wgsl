// AdEMAMix: AdamW with a second, slow average of gradients beside its own (Pagliardini et al. 2024, "The AdEMAMix
// Optimizer: Better, Faster, Older", algorithm 1; order of operations of apple/ml-ademamix).
//
//   m     <- lerp(m, grad, 1 - beta1)
//   slow  <- lerp(slow, grad, 1 - beta3(t))
//   v     <- beta2 * v + (1 - beta2) * grad^2
//   u     <- (m / (1 - beta1^t) + alpha(t) * slow) / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//   param <- param * (1 - lr * weight_decay) - lr * u
//
// alpha(t) is alpha * min(1, t / alpha_warmup). Until step beta3_warmup, T, half-lives rise evenly from beta1's to beta3's:
//
//   ln beta3(t) = 1 / ((1 - t / T) / ln beta1 + t / T / ln beta3)
//
// (apple adds 1e-8 to both betas in that.)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v), 2 exp_avg_slow (slow; never corrected for its bias).

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    weight_decay: f32,
    alpha: f32,
    // What alpha(t) gains in a step: alpha / alpha_warmup, or alpha without one.
    alpha_rise: f32,
    padding0: f32,
}

struct StepHyper {
    ln_beta1: f32,
    ln_beta2: f32,
    one_minus_beta3: f32,
    // 0 without a warm-up.
    beta3_warmup: f32,
    // 1 / ln beta1 and 1 / ln beta3.
    ln_beta1_rcp: f32,
    ln_beta3_rcp: f32,
    padding0: f32,
    padding1: f32,
}

struct Scalars {
    lr: f32,
    bias_correction1_rcp: f32,
    bias_correction2_rsqrt: f32,
    // 1 - beta3(t)
    slow_weight: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    exp_avg_slow: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    var slow_weight = hyper.one_minus_beta3;
    if (t < hyper.beta3_warmup) {
        // Both are negative: nothing cancels.
        let half_life = (hyper.beta3_warmup - t) * hyper.ln_beta1_rcp + t * hyper.ln_beta3_rcp;
        slow_weight = -expm1(hyper.beta3_warmup / half_life);
    }
    return Scalars(
        lr,
        1.0 / bias_correction(t, hyper.ln_beta1),
        inverseSqrt(bias_correction(t, hyper.ln_beta2)),
        slow_weight,
    );
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let exp_avg = lerp(state.exp_avg, grad, hyper.one_minus_beta1);
    let exp_avg_slow = lerp(state.exp_avg_slow, grad, tensor.scalars.slow_weight);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * grad * grad;
    let alpha = min(f32(tensor.step) * hyper.alpha_rise, hyper.alpha);
    let blend = exp_avg * tensor.scalars.bias_correction1_rcp + alpha * exp_avg_slow;
    let denominator = sqrt(exp_avg_sq) * tensor.scalars.bias_correction2_rsqrt + hyper.eps;
    return Proposal(blend / denominator, State(exp_avg, exp_avg_sq, exp_avg_slow));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    let lr = tensor.scalars.lr;
    return decayed(param, direction, 1.0 - lr * hyper.weight_decay) - lr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    slots.slot2 = state.exp_avg_slow;
    return slots;
}
