// Adafactor as transformers has it: with a first moment, and relative or given learning rates (Shazeer and Stern 2018,
// "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost"; order of operations of transformers.Adafactor).
//
//   rho <- lr * min(0.01, or 1e-6 * t with WARMUP_INIT, 1 / sqrt(t)) with RELATIVE_STEP, else lr
//   size <- rho * max(eps2, RMS(param)) with SCALE_PARAMETER, else rho       RMS over the tensor
//   w <- t^decay_rate,  q <- grad^2 + eps1
//   r <- lerp(r, mean of q over each row, w),  c <- lerp(c, mean of q over each column, w)
//   v <- r * c / mean of r over the matrix                    if FACTORED, else  v <- lerp(v, q, w)
//   u <- size / max(1, RMS(grad / sqrt(v)) / clip_threshold) * grad / sqrt(v)
//   m <- beta1 * m + (1 - beta1) * u                          with MOMENTUM, and m for u below
//   param <- param * (1 - size * weight_decay) - u
//
// Matrices are those of the last two dimensions. An RMS(param) that is not finite counts as 0.
//
// State slots: 0 exp_avg_sq (v), or exp_avg_sq_row (r) and exp_avg_sq_col (c) if FACTORED; then exp_avg (m) with
// MOMENTUM.

// Whether the tensor has rows and columns: two dimensions or more.
override FACTORED: bool = false;
override MOMENTUM: bool = false;
override RELATIVE_STEP: bool = false;
override WARMUP_INIT: bool = false;
override SCALE_PARAMETER: bool = false;

// The least normal number: eps1 may be 0.
const LEAST: f32 = 1.1754943508222875e-38;

struct Hyper {
    eps1: f32,
    beta1: f32,
    one_minus_beta1: f32,
    padding0: f32,
    padding1: vec4<f32>,
}

struct StepHyper {
    // decay_rate as a sum: the first has few bits.
    exponent_high: f32,
    exponent_low: f32,
    weight_decay: f32,
    eps2: f32,
    clip_threshold: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct Scalars {
    // rho; behind `decide`, what multiplies grad / sqrt(v)
    step_size: f32,
    weight: f32,
    // behind `decide`
    decay: f32,
    padding0: f32,
}

struct State {
    exp_avg_sq: vec4<f32>,
    exp_avg: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    var rho = lr;
    if (RELATIVE_STEP) {
        rho *= min(select(0.01, 1e-6 * t, WARMUP_INIT), inverseSqrt(t));
    }
    return Scalars(rho, power(t, hyper.exponent_high, hyper.exponent_low), 1.0, 0.0);
}

fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return grad * grad + hyper.eps1;
}

fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return lerp(vec4<f32>(before), vec4<f32>(mean), scalars.weight).x;
}

fn keep_column(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return lerp(vec4<f32>(before), vec4<f32>(mean), scalars.weight).x;
}

fn row_factor(row: f32, mean: f32, hyper: StepHyper) -> f32 {
    return row / max(mean, LEAST);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    var exp_avg_sq = state.exp_avg_sq;
    if (!FACTORED) {
        exp_avg_sq = lerp(state.exp_avg_sq, grad * grad + hyper.eps1, tensor.scalars.weight);
    }
    var direction = tensor.scalars.step_size * scaled(grad, exp_avg_sq);
    if (MOMENTUM) {
        direction = hyper.beta1 * state.exp_avg + hyper.one_minus_beta1 * direction;
    }
    return Proposal(direction, State(exp_avg_sq, direction));
}

fn scaled(grad: vec4<f32>, second_moment: vec4<f32>) -> vec4<f32> {
    return grad * inverseSqrt(max(second_moment, vec4<f32>(LEAST)));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    let unclipped = scaled(grad, proposal.state.exp_avg_sq);
    return Terms(param * param, unclipped * unclipped);
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    let mean_squares = sums.xy / max(sums.w, 1.0);
    var size = before.step_size;
    if (SCALE_PARAMETER) {
        size *= max(hyper.eps2, select(0.0, sqrt(mean_squares.x), sum_is_finite(mean_squares.x)));
    }
    let clipped = size / max(1.0, sqrt(mean_squares.y) / hyper.clip_threshold);
    return Scalars(clipped, before.weight, 1.0 - size * hyper.weight_decay, 0.0);
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - direction;
}

fn state_of(slots: Slots) -> State {
    if (FACTORED) {
        return State(slots.row * slots.column, slots.slot0);
    }
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    if (FACTORED) {
        slots.slot0 = state.exp_avg;
    } else {
        slots.slot0 = state.exp_avg_sq;
        slots.slot1 = state.exp_avg;
    }
    return slots;
}
