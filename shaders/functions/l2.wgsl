// An L2 penalty: the gradient, or a direction, with a part of the parameter. Without one nothing of the parameter, since
// 0 * inf is NaN.

fn l2_penalized(grad: vec4<f32>, param: vec4<f32>, weight_decay: f32) -> vec4<f32> {
    return select(grad, grad + weight_decay * param, weight_decay != 0.0);
}
