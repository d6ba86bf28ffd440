// Words of four codes of 16 bits as they are, for probes/traffic.wgsl: in the place of packing/param_16.wgsl.

alias ParamWord = vec2<u32>;

fn param_codes(at: u32, count: u32) -> vec4<u32> {
    return vec4<u32>(param[at], vec2<u32>());
}

fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {
    if (count != 0u) {
        param[at] = codes.xy;
    }
}
