// AdaBelief: Adam with the variance of gradients around their average in the place of their mean square (Zhuang et al.
// 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients", algorithm 2; rectification: Liu et
// al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond"; order of operations of
// adabelief_pytorch.AdaBelief).
//
//   g     <- grad + weight_decay * param       without decoupled decay, and not 0: 0 * inf is NaN
//   param <- param * (1 - lr * weight_decay)   with it
//   m     <- lerp(m, g, 1 - beta1)
//   s     <- beta2 * s + (1 - beta2) * (g - m)^2 + eps
//   s_max <- max(s_max, s)                     with AMSGRAD, which goes without rectification, and s_max for s below
//   param <- param - lr / (1 - beta1^t) * u, where without rectification
//   u      = m / (sqrt(s) / sqrt(1 - beta2^t) + eps)
//
// and with it, rho(t) and r of functions/rectification.wgsl,
//
//   u      = r * sqrt(1 - beta2^t) * m / (sqrt(s) + eps)     where rho(t) is at least 5
//   u      = m                                               in the first steps
//
// State slots: 0 exp_avg (m), 1 exp_avg_var (s, with its sum of eps), 2 max_exp_avg_var (s_max, only with AMSGRAD).

override AMSGRAD: bool = false;

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
    rectification_scale: f32,
    // The decoupled decay: 0 where it is an L2 penalty.
    decoupled: f32,
    // 0 without rectification.
    rectify: f32,
    padding0: f32,
    padding1: f32,
}

struct Scalars {
    // What multiplies m, divided or not.
    step_size: f32,
    // What multiplies sqrt(s): 0 where m is not divided.
    root_size: f32,
    decay: f32,
    padding0: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_var: vec4<f32>,
    max_exp_avg_var: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let step_size = lr / bias_correction(t, hyper.ln_beta1);
    let bias_correction2 = bias_correction(t, hyper.ln_beta2);
    let decay = 1.0 - lr * hyper.decoupled;
    if (hyper.rectify == 0.0) {
        return Scalars(step_size, inverseSqrt(bias_correction2), decay, 0.0);
    }
    let rho = rectified_length(t, hyper.ln_beta2, hyper.rho_inf);
    if (rho < 5.0) {
        return Scalars(step_size, 0.0, decay, 0.0);
    }
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
    let residual = decayed - exp_avg;
    let squares = hyper.one_minus_beta2 * residual * residual;
    let exp_avg_var = hyper.beta2 * state.exp_avg_var + squares + hyper.eps;
    var largest = exp_avg_var;
    if (AMSGRAD) {
        largest = max_magnitude(state.max_exp_avg_var, exp_avg_var);
    }
    let root_size = tensor.scalars.root_size;
    let divided = exp_avg / (sqrt(largest) * root_size + hyper.eps);
    let direction = tensor.scalars.step_size * select(exp_avg, divided, root_size != 0.0);
    return Proposal(direction, State(exp_avg, exp_avg_var, largest));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_var;
    slots.slot2 = state.max_exp_avg_var;
    return slots;
}
