// Gradients in the same buffer and format as the parameters: one binding serves both, since two
// overlapping writable bindings of a buffer are an error in WebGPU.

alias GradWord = ParamWord;

fn load_grad(at: u32, count: u32) -> vec4<f32> {
    return load_param(at, count);
}
