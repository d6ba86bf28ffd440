// The engine's: formats/dynamic.wgsl, joined with this.

fn prepare(lane: u32) {}

fn decode(codes: vec4<u32>) -> vec4<f32> {
    return dynamic_decode(codes, KIND);
}
