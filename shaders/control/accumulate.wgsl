// Accumulate: adds gradients of a micro-batch to those of the batch. Joined like a rule, with the
// accumulator in the place of the parameter.
//
//   accumulator <- accumulator + factor * grad
//
// An element that is not finite stays so, whatever is added to it, so that the step sees it: kept by
// its bits, as they come from memory, since a compiler may assume that arithmetic does not meet
// infinities and NaN. (Where it assumes nothing, addition keeps them too, but for their payload.)
//
// In the place of functions/gradient.wgsl: a micro-batch's gradients are taken as they are.

struct Hyper {
    factor: f32,
    padding0: f32,
    padding1: vec2<f32>,
    padding2: vec4<f32>,
}

struct Scalars {
    padding0: vec4<f32>,
}

struct State {
    padding0: u32,
}

fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    let sum = bitcast<vec4<u32>>(param + hyper.factor * grad);
    let kept = select(sum, bitcast<vec4<u32>>(grad), is_not_finite(grad));
    let bits = select(kept, bitcast<vec4<u32>>(param), is_not_finite(param));
    return Proposal(bitcast<vec4<f32>>(bits), state);
}

fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return direction;
}

fn load_grad(place: Place, tensor: Tensor) -> vec4<f32> {
    return decode_grad(grad_codes(place.grad, place.count));
}

fn explains_infinity(grad: vec4<f32>) -> vec4<bool> {
    return vec4<bool>(true);
}

fn clear_grad(place: Place, exists: u32, tensor: Tensor) {}

fn is_not_finite(value: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(value) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

fn state_of(slots: Slots) -> State {
    return State();
}

fn slots_of(state: State) -> Slots {
    return Slots();
}
