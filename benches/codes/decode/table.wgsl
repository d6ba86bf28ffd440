// The book itself. Joined with memory/{workgroup,storage,uniform}.wgsl.

fn decode(codes: vec4<u32>) -> vec4<f32> {
    return look_up(codes);
}
