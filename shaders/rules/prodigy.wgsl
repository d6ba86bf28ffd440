// Prodigy: Adam whose learning rate finds itself (Mishchenko and Defazio 2023, "Prodigy: An Expeditiously
// Adaptive Parameter-Free Learner"; order of operations of prodigyopt 1.1.2).
//
//   grad <- grad + l2 * param                                   if the decay is not decoupled
//   dlr <- d * lr * (sqrt(1 - beta2^k) / (1 - beta1^k), or 1)   k counts the optimizer's steps
//   m <- beta1 * m + (1 - beta1) * d * grad
//   v <- beta2 * v + (1 - beta2) * d^2 * grad^2
//   s <- beta3 * s + d / d0 * (d with SAFEGUARD_WARMUP, else dlr) * grad
//   numerator <- beta3 * numerator + d / d0 * sum of dlr * grad * (p0 - param)       over all tensors
//   d' <- d_coef * numerator / sum of |s|                                            over all tensors
//   d <- max(d, d') as long as it is d0;  d_max <- max(d_max, d');  d <- min(d_max, d * growth_rate)
//   param <- param - weight_decay * dlr * param - dlr * m / (sqrt(v) + d * eps)      dlr with the old d
//
// Where the sum of |s| is 0, moments decay and nothing else happens. A tensor whose learning rate is 0 is frozen
// wholly. (In prodigyopt it goes on moving.)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v), 2 s, 3 p0 (the parameter before the tensor's first step).
// Common to all tensors: d, d_max, d_numerator, k.

override USE_BIAS_CORRECTION: bool = false;
override SAFEGUARD_WARMUP: bool = false;

struct Hyper {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    beta3: f32,
    // One of the two is 0.
    l2: f32,
    weight_decay: f32,
    eps: f32,
}

struct StepHyper {
    ln_beta1: f32,
    ln_beta2: f32,
    beta3: f32,
    d0: f32,
    d_coef: f32,
    growth_rate: f32,
    padding0: f32,
    padding1: f32,
}

struct Scalars {
    d: f32,
    dlr: f32,
    // What multiplies the gradient in s; 0: frozen.
    s_size: f32,
    // Behind `decide`: d as it becomes.
    d_next: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    s: vec4<f32>,
    p0: vec4<f32>,
}

// What is joint, before the first step too: d, d_max, d_numerator, k.
fn begun(joint: vec4<f32>, hyper: StepHyper) -> vec4<f32> {
    return select(joint, vec4<f32>(hyper.d0, hyper.d0, 0.0, 0.0), joint.x == 0.0);
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let joint = begun(kept.joint, hyper);
    let d = joint.x;
    var dlr = d * lr;
    if (USE_BIAS_CORRECTION) {
        let k = joint.w + 1.0;
        dlr *= sqrt(bias_correction(k, hyper.ln_beta2)) / bias_correction(k, hyper.ln_beta1);
    }
    let size = select(dlr, d, SAFEGUARD_WARMUP);
    return Scalars(d, dlr, select(0.0, d / hyper.d0 * size, lr > 0.0), d);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.l2);
    let d = tensor.scalars.d;
    let p0 = select(state.p0, param, tensor.step == 1u);
    let exp_avg = hyper.beta1 * state.exp_avg + hyper.one_minus_beta1 * (d * decayed);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * (d * decayed) * (d * decayed);
    let s = hyper.beta3 * state.s + tensor.scalars.s_size * decayed;
    if (tensor.scalars.s_size == 0.0) {
        return Proposal(vec4<f32>(), State(state.exp_avg, state.exp_avg_sq, state.s, p0));
    }
    let direction = exp_avg / (sqrt(exp_avg_sq) + tensor.scalars.d_next * hyper.eps);
    return Proposal(direction, State(exp_avg, exp_avg_sq, s, p0));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    let is_frozen = tensor.scalars.s_size == 0.0;
    // Of an infinite parameter, which only one without gradient leaves alone, nothing is known.
    let is_known = (bitcast<vec4<u32>>(param) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    let along = tensor.scalars.dlr * l2_penalized(grad, param, hyper.l2) * (proposal.state.p0 - param);
    return Terms(
        select(vec4<f32>(), along, is_known & vec4<bool>(!is_frozen)),
        select(abs(proposal.state.s), vec4<f32>(), is_frozen),
    );
}

fn keep_joint(sums: vec4<f32>, before: vec4<f32>, hyper: StepHyper) -> vec4<f32> {
    let joint = begun(before, hyper);
    if (sums.y == 0.0) {
        return joint;
    }
    let numerator = hyper.beta3 * joint.z + joint.x / hyper.d0 * sums.x;
    let found = hyper.d_coef * numerator / sums.y;
    let d = select(joint.x, max(joint.x, found), joint.x == hyper.d0);
    let d_max = max(joint.y, found);
    // min(d_max, d * growth_rate), which may be infinite.
    let grown = select(d * hyper.growth_rate, d_max, d >= d_max / hyper.growth_rate);
    return vec4<f32>(grown, d_max, numerator, joint.w + 1.0);
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    let dlr = select(before.dlr, 0.0, sums.y == 0.0);
    return Scalars(before.d, dlr, before.s_size, kept.joint.x);
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    let dlr = tensor.scalars.dlr;
    let decay = hyper.weight_decay * dlr;
    return decayed(param, direction, 1.0 - decay) - dlr * direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2, slots.slot3);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    slots.slot2 = state.s;
    slots.slot3 = state.p0;
    return slots;
}
