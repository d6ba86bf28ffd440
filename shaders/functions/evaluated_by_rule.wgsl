// Parameters are evaluated where their rule says, by its state. In the place of functions/evaluated_average.wgsl.

struct BothValues {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn evaluated_both(a: Place, b: Place, axes: Axes, tensor: Tensor) -> BothValues {
    let hyper = load_hyper(tensor);
    let slots = load_slots(a, b);
    return BothValues(
        evaluated(load_param(a), state_of(with_vectors(slots.a, axes, a, tensor)), tensor, hyper),
        evaluated(load_param(b), state_of(with_vectors(slots.b, axes, b, tensor)), tensor, hyper),
    );
}
