// Parameters of 32 bits, four codes to a word.

alias ParamWord = vec4<u32>;

fn param_codes(at: u32, count: u32) -> vec4<u32> {
    return param[at];
}

fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {
    if (count != 0u) {
        param[at] = codes;
    }
}
