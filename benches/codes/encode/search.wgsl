// Eight steps of binary search without a branch. Joined with memory/{workgroup,storage,uniform}.wgsl.

fn encode(value: vec4<f32>, absmax: f32) -> u32 {
    let magnitude = abs(value);
    var number = vec4<u32>();
    for (var step = 128u; step > 0u; step >>= 1u) {
        let middle = number + vec4<u32>(step);
        let border = look_up(middle - vec4<u32>(1u)) * absmax;
        number = select(number, middle, magnitude >= border);
    }
    return packed(code_of(number, value));
}
