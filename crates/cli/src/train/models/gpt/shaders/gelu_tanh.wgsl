// The tanh in GELU.

// sqrt(2 / pi)
const GELU_SCALE: f32 = 0.7978845608;
const GELU_CUBE: f32 = 0.044715;

fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let u = GELU_SCALE * (x + GELU_CUBE * x * x * x);
    // Beyond 10 it is 1 in f32, while WGSL lets tanh overflow on the way.
    return tanh(clamp(u, vec4<f32>(-10.0), vec4<f32>(10.0)));
}
