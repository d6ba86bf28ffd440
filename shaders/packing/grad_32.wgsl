// Gradients of 32 bits, four codes to a word.

alias GradWord = vec4<u32>;

fn grad_codes(at: u32, count: u32) -> vec4<u32> {
    return grad[at];
}

fn set_grad_codes(at: u32, codes: vec4<u32>, count: u32) {
    if (count != 0u) {
        grad[at] = codes;
    }
}
