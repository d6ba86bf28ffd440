// Gradients in the same buffer as the parameters and of the same size: one binding serves both,
// since two overlapping writable bindings of a buffer are an error in WebGPU.

alias GradWord = u32;

fn grad_codes(at: u32, count: u32) -> vec4<u32> {
    return param_codes(at, count);
}

fn set_grad_codes(at: u32, codes: vec4<u32>, count: u32) {
    set_param_codes(at, codes, count);
}
