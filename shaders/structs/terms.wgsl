// What a rule wants summed over all elements of a tensor.

struct Terms {
    first: vec4<f32>,
    second: vec4<f32>,
}
