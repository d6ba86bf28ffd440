// Decoupled weight decay (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"): of the parameter by a
// factor, before it moves. In its place: functions/cautious_decay.wgsl.

fn decayed(param: vec4<f32>, direction: vec4<f32>, factor: f32) -> vec4<f32> {
    return param * factor;
}
