// Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"; order of operations of schedulefree's
// AdamWScheduleFree). The parameter is y while it is trained, and x where it is evaluated.
//
//   v <- beta2 * v + (1 - beta2) * grad^2
//   g <- grad / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * y
//   y <- y + c * (z - y) - lr_k * (1 - beta1 * (1 - c)) * g
//   z <- z - lr_k * g
//   x  = y + (1 - 1 / beta1) * (z - y)
//
// k, lr_k and c are functions/schedule_free.wgsl's: they go on in a step in which the tensor has no gradient.
//
// State slots: 0 z (the parameter, before the tensor's first step), 1 exp_avg_sq (v). Of the tensor: k, lr_max,
// weight_sum, weight_sum_rest.

struct Hyper {
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    weight_decay: f32,
    // 1 - 1 / beta1
    evaluated_at: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct StepHyper {
    beta1: f32,
    one_minus_beta1: f32,
    ln_beta2: f32,
    warmup_steps: f32,
    r_hi: f32,
    r_lo: f32,
    power_hi: f32,
    power_lo: f32,
}

struct Scalars {
    lr: f32,
    // How far y goes to z, and against g.
    c: f32,
    step_size: f32,
    bias_correction2_rsqrt: f32,
}

struct State {
    z: vec4<f32>,
    exp_avg_sq: vec4<f32>,
}

fn schedule_of(hyper: StepHyper) -> ScheduleFree {
    return ScheduleFree(hyper.warmup_steps, hyper.r_hi, hyper.r_lo, hyper.power_hi, hyper.power_lo);
}

fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32> {
    return keep_schedule(kept.tensor, lr, schedule_of(hyper));
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let schedule = schedule_of(hyper);
    let k = max(kept.tensor.x, 1.0);
    let lr_k = scheduled_lr(k, lr, schedule);
    let c = average_weight_of(kept.tensor, schedule);
    // (1 - beta1 * (1 - c), without cancellation.)
    let step_size = lr_k * (hyper.one_minus_beta1 + hyper.beta1 * c);
    return Scalars(lr_k, c, step_size, inverseSqrt(bias_correction(k, hyper.ln_beta2)));
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let z = select(state.z, param, tensor.step == 1u);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * grad * grad;
    let normalized = grad / (sqrt(exp_avg_sq) * tensor.scalars.bias_correction2_rsqrt + hyper.eps);
    let penalized = l2_penalized(normalized, param, hyper.weight_decay);
    let direction = tensor.scalars.step_size * penalized - tensor.scalars.c * way(param, z);
    return Proposal(direction, State(z - tensor.scalars.lr * penalized, exp_avg_sq));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn evaluated(param: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param + hyper.evaluated_at * way(param, state.z);
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.z;
    slots.slot1 = state.exp_avg_sq;
    return slots;
}
