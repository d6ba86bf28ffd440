// Gradients of 16 bits, two codes to a word: for a tensor's end, where four would reach too far. As
// packing/param_16_scalar.wgsl.
//
// Joined with: packing/grad_own.wgsl or packing/grad_in_param.wgsl, which say where the words are.

fn grad_codes(at: u32, count: u32) -> vec4<u32> {
    var codes = vec4<u32>();
    for (var i = 0u; i < count; i++) {
        codes[i] = half_of(grad_word(at * 2u + i / 2u), i);
    }
    return codes;
}

fn set_grad_codes(at: u32, codes: vec4<u32>, count: u32) {
    var halves = codes;
    for (var i = 0u; i < count; i++) {
        let word = at * 2u + i / 2u;
        set_grad_word(word, with_half(grad_word(word), i, halves[i]));
    }
}
