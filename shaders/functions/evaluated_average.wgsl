// Parameters are evaluated at their average.

struct BothValues {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn evaluated_both(a: Place, b: Place, axes: Axes, tensor: Tensor) -> BothValues {
    let average = u32(LOOKAHEAD);
    return BothValues(load_exact(after_word(average, a), a), load_exact(after_word(average, b), b));
}
