// Parameters of 32 bits, one code to a word: for a tensor's end, where four would reach too far.

alias ParamWord = u32;

fn param_codes(at: u32, count: u32) -> vec4<u32> {
    var codes = vec4<u32>();
    for (var i = 0u; i < count; i++) {
        codes[i] = param[at * 4u + i];
    }
    return codes;
}

fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {
    var words = codes;
    for (var i = 0u; i < count; i++) {
        param[at * 4u + i] = words[i];
    }
}
