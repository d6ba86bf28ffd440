// Gradients in f32, four to a word.

alias GradWord = vec4<f32>;

fn load_grad(at: u32, count: u32) -> vec4<f32> {
    return grad[at];
}
