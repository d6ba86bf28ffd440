// Accumulate: adds gradients of a micro-batch to those of the batch. Joined like a rule, with the
// accumulator in the place of the parameter.
//
//   accumulator <- accumulator + factor * grad
//
// An element that is not finite stays so, whatever is added to it, so that the step sees it: kept by
// its bits, since a shader's arithmetic may assume that infinities and NaN do not occur.

struct Hyper {
    factor: f32,
    padding0: f32,
    padding1: vec2<f32>,
    padding2: vec4<f32>,
}

struct State {
    padding0: u32,
}

fn rule(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Updated {
    let sum = select(param + hyper.factor * grad, grad, is_not_finite(grad));
    return Updated(select(sum, param, is_not_finite(param)), state);
}

fn is_not_finite(value: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(value) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

fn state_of(slots: Slots) -> State {
    return State();
}

fn slots_of(state: State) -> Slots {
    return Slots();
}
