// f = Σ (cₙ - x + x yⁿ)² for n = 1, 2, 3 and c = 1.5, 2.25, 2.625

fn gradient(x: f32, y: f32) -> vec2<f32> {
    let y2 = y * y;
    let y3 = y2 * y;
    let rest = vec3<f32>(1.5, 2.25, 2.625) - x + x * vec3<f32>(y, y2, y3);
    let dx = vec3<f32>(y, y2, y3) - 1.0;
    let dy = x * vec3<f32>(1.0, 2.0 * y, 3.0 * y2);
    return 2.0 * vec2<f32>(dot(rest, dx), dot(rest, dy));
}
