// f = (1 - x)² + 100 (y - x²)²

fn gradient(x: f32, y: f32) -> vec2<f32> {
    let above = y - x * x;
    return vec2<f32>(-2.0 * (1.0 - x) - 400.0 * x * above, 200.0 * above);
}
