// f = ½ x² - ½ y² + ¼ y⁴

fn gradient(x: f32, y: f32) -> vec2<f32> {
    return vec2<f32>(x, y * y * y - y);
}
