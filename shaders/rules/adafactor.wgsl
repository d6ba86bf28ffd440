// Adafactor: RMSprop whose second moments of a matrix are those of its rows and columns (Shazeer and Stern 2018,
// "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost"; order of operations of torch.optim.Adafactor).
//
//   w <- t^beta2_decay
//   size <- max(eps2, RMS(param)) * min(lr, 1 / sqrt(t))
//   param <- param * (1 - lr * weight_decay)
//   r <- lerp(r, mean of grad^2 over each row, w),  c <- lerp(c, mean of grad^2 over each column, w)
//   v <- r * c / max(mean of r over the matrix, eps1)         if FACTORED, else  v <- lerp(v, grad^2, w)
//   u <- grad / sqrt(max(v, eps1^2))
//   param <- param - size / max(1, RMS(u) / d) * u            RMS over the tensor
//
// Matrices are those of the last two dimensions.
//
// An RMS(param) that is not finite counts as 0. (torch: infinite, so that one element takes its tensor along.)
//
// State slots: 0 variance (v); or, if FACTORED, row_var (r) and col_var (c).

// Whether the tensor has rows and columns: two dimensions or more.
override FACTORED: bool = false;
// Whether eps1 is the parameter's format's: what lies between 1 and the next number.
override EPS1_OF_F32: bool = false;
override EPS1_OF_F16: bool = false;
override EPS1_OF_BF16: bool = false;

// The least normal number: an eps1 may be 0, or its square may vanish.
const LEAST: f32 = 1.1754943508222875e-38;

struct Hyper {
    eps1: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
    padding3: vec4<f32>,
}

struct StepHyper {
    // beta2_decay as a sum: the first has few bits.
    exponent_high: f32,
    exponent_low: f32,
    weight_decay: f32,
    eps1: f32,
    eps2: f32,
    d: f32,
    padding0: f32,
    padding1: f32,
}

struct Scalars {
    // min(lr, 1 / sqrt(t)); behind `decide`, what multiplies u
    step_size: f32,
    weight: f32,
    decay: f32,
    padding0: f32,
}

struct State {
    variance: vec4<f32>,
}

fn of_format(eps1: f32) -> f32 {
    if (EPS1_OF_F32) {
        return 1.1920928955078125e-7;
    }
    if (EPS1_OF_F16) {
        return 0.0009765625;
    }
    if (EPS1_OF_BF16) {
        return 0.0078125;
    }
    return eps1;
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    let weight = power(t, hyper.exponent_high, hyper.exponent_low);
    return Scalars(min(lr, inverseSqrt(t)), weight, 1.0 - lr * hyper.weight_decay, 0.0);
}

fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return grad * grad;
}

fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return lerp(vec4<f32>(before), vec4<f32>(mean), scalars.weight).x;
}

fn keep_column(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return lerp(vec4<f32>(before), vec4<f32>(mean), scalars.weight).x;
}

fn row_factor(row: f32, mean: f32, hyper: StepHyper) -> f32 {
    return row / max(mean, max(of_format(hyper.eps1), LEAST));
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    var variance = state.variance;
    if (!FACTORED) {
        variance = lerp(state.variance, grad * grad, tensor.scalars.weight);
    }
    let eps1 = of_format(hyper.eps1);
    let bounded = max(variance, vec4<f32>(max(eps1 * eps1, LEAST)));
    return Proposal(grad * inverseSqrt(bounded), State(variance));
}

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    return Terms(param * param, proposal.direction * proposal.direction);
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    let mean_squares = sums.xy / max(sums.w, 1.0);
    let rms = select(0.0, sqrt(mean_squares.x), sum_is_finite(mean_squares.x));
    let size = max(hyper.eps2, rms) * before.step_size;
    var decided = before;
    decided.step_size = size / max(1.0, sqrt(mean_squares.y) / hyper.d);
    return decided;
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return decayed(param, direction, tensor.scalars.decay) - tensor.scalars.step_size * direction;
}

fn state_of(slots: Slots) -> State {
    if (FACTORED) {
        return State(slots.row * slots.column);
    }
    return State(slots.slot0);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.variance;
    return slots;
}
