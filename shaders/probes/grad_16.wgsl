// Words of four codes of 16 bits as they are, for probes/traffic.wgsl: in the place of packing/grad_16.wgsl.

alias GradWord = vec2<u32>;

fn grad_codes(at: u32, count: u32) -> vec4<u32> {
    return vec4<u32>(grad[at], vec2<u32>());
}

fn set_grad_codes(at: u32, codes: vec4<u32>, count: u32) {
    if (count != 0u) {
        grad[at] = codes.xy;
    }
}
