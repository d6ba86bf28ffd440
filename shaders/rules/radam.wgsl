// RAdam: Adam whose step is as certain as its second moment (Liu et al. 2019, "On the Variance of the Adaptive
// Learning Rate and Beyond"; order of operations of torch.optim.RAdam).
//
//   g     <- grad + weight_decay * param       without decoupled decay, and not 0: 0 * inf is NaN
//   param <- param * (1 - lr * weight_decay)   with it
//   m     <- lerp(m, g, 1 - beta1)
//   v     <- beta2 * v + (1 - beta2) * g^2
//   rho   =  rho_inf - 2 * t * beta2^t / (1 - beta2^t),  rho_inf = 2 / (1 - beta2) - 1
//   r     =  sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
//   param <- param - lr / (1 - beta1^t) * m                                                 while rho <= 5
//   param <- param - lr / (1 - beta1^t) * sqrt(1 - beta2^t) * r * m / (sqrt(v) + eps)       then
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v).

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
    ln_beta1: f32,
    ln_beta2: f32,
    rho_inf: f32,
    // rho_inf / ((rho_inf - 4) * (rho_inf - 2))
    rectification_scale: f32,
    // The decoupled decay: 0 where it is an L2 penalty.
    decoupled: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    // What multiplies m, or m / (sqrt(v) + eps).
    step_size: f32,
    is_rectified: f32,
    decay: f32,
    padding0: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let step_size = lr / bias_correction(t, hyper.ln_beta1);
    let decay = 1.0 - lr * hyper.decoupled;
    let rho = rectified_length(t, hyper.ln_beta2, hyper.rho_inf);
    if (rho <= 5.0) {
        return Scalars(step_size, 0.0, decay, 0.0);
    }
    let bias_correction2 = bias_correction(t, hyper.ln_beta2);
    let rectified = rectification(rho, hyper.rectification_scale * bias_correction2);
    return Scalars(step_size * rectified, 1.0, decay, 0.0);
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
    let moved = tensor.scalars.step_size * exp_avg;
    let rectified = moved / (sqrt(exp_avg_sq) + hyper.eps);
    let direction = select(moved, rectified, tensor.scalars.is_rectified != 0.0);
    return Proposal(direction, State(exp_avg, exp_avg_sq));
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
