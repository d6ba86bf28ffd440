// StableAdamW: AdamW with Adafactor's clipping of updates (Wortsman et al. 2023, "Stable and low-precision training for
// large-scale vision-language models", algorithm 2; order of operations of optimi.StableAdamW).
//
//   w1    <- (1 - beta1) / (1 - beta1^t),  w2 <- (1 - beta2) / (1 - beta2^t)      1 at first: no bias to correct
//   m     <- lerp(m, grad, w1)
//   v     <- lerp(v, grad^2, w2)
//   size  <- lr / max(1, RMS)                    RMS of grad / sqrt(max(v, eps^2)) over the tensor
//   param <- param * (1 - size * weight_decay) - size * m / (sqrt(v) + eps)
//
// An RMS that is not finite counts as 1.
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v).

struct Hyper {
    eps: f32,
    // At least the least normal number: an eps may be 0, or its square may vanish.
    eps_squared: f32,
    padding0: f32,
    padding1: f32,
    padding2: vec4<f32>,
}

struct StepHyper {
    ln_beta1: f32,
    ln_beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    // lr; behind `decide`, what it is with this RMS
    step_size: f32,
    avg_weight: f32,
    sq_weight: f32,
    decay: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(
        lr,
        hyper.one_minus_beta1 / bias_correction(t, hyper.ln_beta1),
        hyper.one_minus_beta2 / bias_correction(t, hyper.ln_beta2),
        1.0 - lr * hyper.weight_decay,
    );
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let exp_avg = lerp(state.exp_avg, grad, tensor.scalars.avg_weight);
    let exp_avg_sq = lerp(state.exp_avg_sq, grad * grad, tensor.scalars.sq_weight);
    return Proposal(exp_avg / (sqrt(exp_avg_sq) + hyper.eps), State(exp_avg, exp_avg_sq));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    let least = vec4<f32>(hyper.eps_squared);
    return Terms(grad * grad / max(proposal.state.exp_avg_sq, least), vec4<f32>());
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    let mean_square = sums.x / max(sums.w, 1.0);
    var decided = before;
    decided.step_size = before.step_size / max(1.0, select(1.0, sqrt(mean_square), sum_is_finite(mean_square)));
    decided.decay = 1.0 - decided.step_size * hyper.weight_decay;
    return decided;
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - tensor.scalars.step_size * direction;
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
