// Rprop (Riedmiller and Braun 1993, "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP
// Algorithm"; without backtracking, as torch.optim.Rprop has it, and in its order of operations).
//
//   s     =  sign(grad) * sign(prev)
//   delta <- clamp(delta * f, step_sizes[0], step_sizes[1])   f = etas[1] if s > 0, etas[0] if s < 0, else 1;
//                                                             lr before the tensor's first step
//   prev  <- 0 if s < 0, else grad
//   param <- param - sign(prev) * delta
//
// (torch takes the sign of the product, which f32 may not hold.)
//
// State slots: 0 prev, 1 step_size (delta).

struct Hyper {
    eta_minus: f32,
    eta_plus: f32,
    min_step_size: f32,
    max_step_size: f32,
    padding0: vec4<f32>,
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
    prev: vec4<f32>,
    step_size: vec4<f32>,
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
    let agreement = sign(grad) * sign(state.prev);
    let is_turned = agreement < vec4<f32>();
    let grown = select(vec4<f32>(1.0), vec4<f32>(hyper.eta_plus), agreement > vec4<f32>());
    let factor = select(grown, vec4<f32>(hyper.eta_minus), is_turned);
    let before = select(state.step_size, vec4<f32>(tensor.scalars.lr), tensor.step == 1u);
    let least = vec4<f32>(hyper.min_step_size);
    let step_size = clamp(before * factor, least, vec4<f32>(hyper.max_step_size));
    let prev = select(grad, vec4<f32>(), is_turned);
    // What has no sign stays what it is.
    let is_nan = (bitcast<vec4<u32>>(prev) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let direction = select(sign(prev) * step_size, prev, is_nan);
    return Proposal(direction, State(prev, step_size));
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}

fn state_of(slots: Slots) -> State {
    return State(slots.slot0, slots.slot1);
}

fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.prev;
    slots.slot1 = state.step_size;
    return slots;
}
