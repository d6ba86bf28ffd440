// A rule's direction is followed as it is proposed. In its place: functions/steering.wgsl.

fn steered(direction: vec4<f32>, grad: vec4<f32>, tensor: Tensor) -> vec4<f32> {
    return direction;
}

fn direction_scale(sum: vec4<f32>, count: f32, limit: f32) -> f32 {
    return 1.0;
}
