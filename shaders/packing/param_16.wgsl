// Parameters of 16 bits, four codes to a word.

alias ParamWord = vec2<u32>;

fn param_codes(at: u32, count: u32) -> vec4<u32> {
    return unpack_codes(param[at]);
}

fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {
    if (count != 0u) {
        param[at] = pack_codes(codes);
    }
}
