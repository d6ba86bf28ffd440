// Gradients of 32 bits, one code to a word: for a tensor's end, where four would reach too far.
//
// Joined with: packing/grad_own.wgsl or packing/grad_in_param.wgsl, which say where the words are.

fn grad_codes(at: u32, count: u32) -> vec4<u32> {
    var codes = vec4<u32>();
    for (var i = 0u; i < count; i++) {
        codes[i] = grad_word(at * 4u + i);
    }
    return codes;
}

fn set_grad_codes(at: u32, codes: vec4<u32>, count: u32) {
    var words = codes;
    for (var i = 0u; i < count; i++) {
        set_grad_word(at * 4u + i, words[i]);
    }
}
