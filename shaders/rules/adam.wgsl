// Adam with L2 regularization (Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization",
// algorithm 1; order of operations of torch.optim.Adam).
//
//   g <- grad + weight_decay * param           only if weight_decay is not 0: 0 * inf is NaN
//   m <- lerp(m, g, 1 - beta1)
//   v <- beta2 * v + (1 - beta2) * g^2
//   v_max <- max(v_max, v)                    with AMSGRAD, and v_max for v below
//   param <- param - (lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// State slots: 0 exp_avg (m), 1 exp_avg_sq (v), 2 max_exp_avg_sq (v_max, only with AMSGRAD).

override AMSGRAD: bool = false;

struct Hyper {
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    weight_decay: f32,
    padding0: f32,
    padding1: f32,
    padding2: f32,
}

struct State {
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    max_exp_avg_sq: vec4<f32>,
}

fn rule(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Updated {
    let decayed = select(grad, grad + hyper.weight_decay * param, hyper.weight_decay != 0.0);
    let exp_avg = lerp(state.exp_avg, decayed, hyper.one_minus_beta1);
    let exp_avg_sq = hyper.beta2 * state.exp_avg_sq + hyper.one_minus_beta2 * decayed * decayed;
    var largest = exp_avg_sq;
    if (AMSGRAD) {
        largest = max_magnitude(state.max_exp_avg_sq, exp_avg_sq);
    }
    let denominator = sqrt(largest) * tensor.bias_correction2_rsqrt + hyper.eps;
    let stepped = param - tensor.step_size * exp_avg / denominator;
    return Updated(stepped, State(exp_avg, exp_avg_sq, largest));
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1, slots.slot2);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.exp_avg;
    slots.slot1 = state.exp_avg_sq;
    slots.slot2 = state.max_exp_avg_sq;
    return slots;
}
