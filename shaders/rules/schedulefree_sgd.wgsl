// Schedule-free SGD (Defazio et al. 2024, "The Road Less Scheduled"; order of operations of schedulefree's
// SGDScheduleFree). The parameter is y while it is trained, and x where it is evaluated.
//
//   g <- grad + weight_decay * y
//   y <- y + c * (z - y) - lr_k * (1 - momentum * (1 - c)) * g
//   z <- z - lr_k * g
//   x  = y + (1 - 1 / momentum) * (z - y)
//
// k, lr_k and c are functions/schedule_free.wgsl's: they go on in a step in which the tensor has no gradient.
//
// State slots: 0 z (the parameter, before the tensor's first step). Of the tensor: k, lr_max, weight_sum,
// weight_sum_rest.

struct Hyper {
    weight_decay: f32,
    // 1 - 1 / momentum
    evaluated_at: f32,
    padding0: f32,
    padding1: f32,
    padding2: vec4<f32>,
}

struct StepHyper {
    momentum: f32,
    one_minus_momentum: f32,
    warmup_steps: f32,
    r_hi: f32,
    r_lo: f32,
    power_hi: f32,
    power_lo: f32,
    padding0: f32,
}

struct Scalars {
    lr: f32,
    // How far y goes to z, and against g.
    c: f32,
    step_size: f32,
    padding0: f32,
}

struct State {
    z: vec4<f32>,
}

fn schedule_of(hyper: StepHyper) -> ScheduleFree {
    return ScheduleFree(hyper.warmup_steps, hyper.r_hi, hyper.r_lo, hyper.power_hi, hyper.power_lo);
}

fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32> {
    return keep_schedule(kept.tensor, lr, schedule_of(hyper));
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let schedule = schedule_of(hyper);
    let lr_k = scheduled_lr(max(kept.tensor.x, 1.0), lr, schedule);
    let c = average_weight_of(kept.tensor, schedule);
    // (1 - momentum * (1 - c), without cancellation.)
    return Scalars(lr_k, c, lr_k * (hyper.one_minus_momentum + hyper.momentum * c), 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let z = select(state.z, param, tensor.step == 1u);
    let penalized = l2_penalized(grad, param, hyper.weight_decay);
    let direction = tensor.scalars.step_size * penalized - tensor.scalars.c * way(param, z);
    return Proposal(direction, State(z - tensor.scalars.lr * penalized));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn evaluated(param: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param + hyper.evaluated_at * way(param, state.z);
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.z;
    return slots;
}
