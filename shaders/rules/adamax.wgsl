// Adamax: Adam with the largest gradient instead of the root mean square (Kingma and Ba 2014, "Adam: A Method for
// Stochastic Optimization", section 7.1; order of operations of torch.optim.Adamax).
//
//   g     <- grad + weight_decay * param       only if weight_decay is not 0: 0 * inf is NaN
//   m     <- lerp(m, g, 1 - beta1)
//   u     <- max(beta2 * u, |g| + eps)
//   param <- param - lr / (1 - beta1^t) * m / u
//
// Where u is 0, and so all gradients were, m / u is 0. (torch: NaN.)
//
// State slots: 0 exp_avg (m), 1 exp_inf (u).

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    padding0: vec4<f32>,
}

struct StepHyper {
    ln_beta1: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
    padding3: vec4<f32>,
}

struct Scalars {
    // lr / (1 - beta1^t)
    step_size: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_inf: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr / bias_correction(t, hyper.ln_beta1), 0.0, 0.0, 0.0);
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
    let exp_inf = max_magnitude(hyper.beta2 * state.exp_inf, abs(decayed) + hyper.eps);
    // By its bits, of which NaN has more: below the least normal number, which may be taken for 0.
    let is_zero = bitcast<vec4<u32>>(exp_inf) < vec4<u32>(0x00800000u);
    let divided = tensor.scalars.step_size * exp_avg / exp_inf;
    return Proposal(select(divided, vec4<f32>(), is_zero), State(exp_avg, exp_inf));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_inf;
    return slots;
}
