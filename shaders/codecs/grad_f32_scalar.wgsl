// Gradients in f32, one to a word: for a tensor's end, where four would reach too far.

alias GradWord = f32;

fn load_grad(at: u32, count: u32) -> vec4<f32> {
    var value = vec4<f32>();
    for (var i = 0u; i < count; i++) {
        value[i] = grad[at * 4u + i];
    }
    return value;
}
