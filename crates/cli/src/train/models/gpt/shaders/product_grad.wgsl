// The gradient of a weight: the gradient of what a linear layer puts out, transposed, times its input.
//
// Bindings (group 0):
//   1 a             f32
//   2 b             f32
//   3 weight_grad   the optimizer's gradient (out)
//
// Joined with a codec of the gradients, which says what a word of four is.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> weight_grad: array<GradWord>;

fn load_a(word: u32) -> vec4<f32> {
    return a[word];
}

fn load_b(word: u32) -> vec4<f32> {
    return b[word];
}

fn store(word: u32, column: u32, value: vec4<f32>) {
    weight_grad[word] = encode_grad(value);
}
