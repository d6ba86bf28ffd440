// RMSprop (Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, "Generating Sequences With Recurrent
// Neural Networks", section 4.2; order of operations of torch.optim.RMSprop).
//
//   g <- grad + weight_decay * param           only if weight_decay is not 0: 0 * inf is NaN
//   v <- alpha * v + (1 - alpha) * g^2
//   a <- lerp(a, g, 1 - alpha)                 with CENTERED, and v - a^2, at least 0, for v below
//   d <- g / (sqrt(v) + eps)
//   b <- momentum * b + d                      with MOMENTUM, and b for d below
//   param <- param - lr * d
//
// (torch lets rounding make v - a^2 negative, and its root NaN.)
//
// State slots: square_avg (v), then grad_avg (a) with CENTERED, then momentum_buffer (b) with MOMENTUM.

override CENTERED: bool = false;
override MOMENTUM: bool = false;

struct Hyper {
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
    weight_decay: f32,
    momentum: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct StepHyper {
    padding0: vec4<f32>,
    padding1: vec4<f32>,
}

struct Scalars {
    lr: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct State {
    square_avg: vec4<f32>,
    grad_avg: vec4<f32>,
    momentum_buffer: vec4<f32>,
}

fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 0.0, 0.0, 0.0);
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let decayed = l2_penalized(grad, param, hyper.weight_decay);
    let square_avg = hyper.alpha * state.square_avg + hyper.one_minus_alpha * decayed * decayed;
    var variance = square_avg;
    var grad_avg = state.grad_avg;
    if (CENTERED) {
        grad_avg = lerp(grad_avg, decayed, hyper.one_minus_alpha);
        variance = non_negative(square_avg - grad_avg * grad_avg);
    }
    var direction = decayed / (sqrt(variance) + hyper.eps);
    var buffer = state.momentum_buffer;
    if (MOMENTUM) {
        buffer = hyper.momentum * buffer + direction;
        direction = buffer;
    }
    return Proposal(direction, State(square_avg, grad_avg, buffer));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.lr * direction;
}

fn state_of(slots: Slots) -> State {
    if (CENTERED) {
        return State(slots.slot0, slots.slot1, slots.slot2);
    }
    return State(slots.slot0, vec4<f32>(), slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.square_avg;
    if (CENTERED) {
        slots.slot1 = state.grad_avg;
        slots.slot2 = state.momentum_buffer;
    } else {
        slots.slot1 = state.momentum_buffer;
    }
    return slots;
}
