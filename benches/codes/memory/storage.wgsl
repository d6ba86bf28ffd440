// A table in a storage buffer.

fn prepare(lane: u32) {}

fn look_up(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(table[at.x], table[at.y], table[at.z], table[at.w]);
}
