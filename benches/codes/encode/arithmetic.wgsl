// The engine's: formats/dynamic.wgsl, joined with this.

fn prepare(lane: u32) {}

fn encode(value: vec4<f32>, absmax: f32) -> u32 {
    return dynamic_encode(value, bitcast<u32>(absmax), KIND);
}
