// Parameters of 16 bits, two codes to a word: for a tensor's end, where four would reach too far.
//
// Where the tensor ends in the middle of a word, its other half is written back as it was found. No
// other tensor begins there: tensors begin at multiples of four elements.

alias ParamWord = u32;

fn param_codes(at: u32, count: u32) -> vec4<u32> {
    var codes = vec4<u32>();
    for (var i = 0u; i < count; i++) {
        codes[i] = half_of(param[at * 2u + i / 2u], i);
    }
    return codes;
}

fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {
    var halves = codes;
    for (var i = 0u; i < count; i++) {
        let word = at * 2u + i / 2u;
        param[word] = with_half(param[word], i, halves[i]);
    }
}
