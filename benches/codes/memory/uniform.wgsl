// A table in a uniform buffer, where four elements lie in a vec4.

fn prepare(lane: u32) {}

fn look_up(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(element(at.x), element(at.y), element(at.z), element(at.w));
}

fn element(at: u32) -> f32 {
    return uniform_table[at / 4u][at % 4u];
}
