// Adam-mini: AdamW with one second moment for each block of a tensor (Zhang et al. 2024, "Adam-mini: Use Fewer Learning
// Rates To Gain More", algorithm 1; adam-mini's Adam_mini, where the names of tensors say what their blocks are).
//
//   param <- param * (1 - lr * weight_decay)
//   m <- lerp(m, grad, 1 - beta1)
//   v <- beta2 * v + (1 - beta2) * mean of grad^2 over the block
//   param <- param - (lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// State slots: 0 m; vmean (v) of blocks, or, where every element is one (not BLOCKS), 1 v.

// Whether blocks may have more than an element.
override BLOCKS: bool = false;

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    padding0: vec4<f32>,
}

struct StepHyper {
    ln_beta1: f32,
    ln_beta2: f32,
    beta2: f32,
    one_minus_beta2: f32,
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    step_size: f32,
    bias_correction2_rsqrt: f32,
    decay: f32,
    padding0: f32,
}

struct State {
    m: vec4<f32>,
    v: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(
        lr / bias_correction(t, hyper.ln_beta1),
        inverseSqrt(bias_correction(t, hyper.ln_beta2)),
        1.0 - lr * hyper.weight_decay,
        0.0,
    );
}

fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return grad * grad;
}

fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return hyper.beta2 * before + hyper.one_minus_beta2 * mean;
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let m = lerp(state.m, grad, hyper.one_minus_beta1);
    var v = state.v;
    if (!BLOCKS) {
        v = hyper.beta2 * state.v + hyper.one_minus_beta2 * (grad * grad);
    }
    let denominator = sqrt(v) * tensor.scalars.bias_correction2_rsqrt + hyper.eps;
    return Proposal(tensor.scalars.step_size * m / denominator, State(m, v));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - direction;
}

fn state_of(slots: Slots) -> State {
    if (BLOCKS) {
        return State(slots.slot0, slots.row);
    }
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.m;
    slots.slot1 = state.v;
    return slots;
}
