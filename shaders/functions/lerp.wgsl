// start + weight * (end - start), torch.lerp: from the nearer end, so that weight 1 gives `end`
// exactly and a constant sequence stays constant. (aten/src/ATen/native/Lerp.h)

fn lerp(start: vec4<f32>, end: vec4<f32>, weight: f32) -> vec4<f32> {
    let is_near_start = weight < 0.5;
    let nearer = select(end, start, is_near_start);
    return nearer + (end - start) * select(weight - 1.0, weight, is_near_start);
}
