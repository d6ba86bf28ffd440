// f = ½ (x² + 25 y²)

fn gradient(x: f32, y: f32) -> vec2<f32> {
    return vec2<f32>(x, 25.0 * y);
}
