// What a step brings, beside the tensors without gradient.

struct StepInput {
    // Multiplies the gradients: 1 / number of gradients that were accumulated.
    grad_factor: f32,
    // Whether gradients are set to zero behind the step.
    zero_grads: u32,
    // Whether the loss scale stays, because another optimizer that shares it steps after this one.
    keep_loss_scale: u32,
    padding0: u32,
    // Of each tensor.
    rates: array<Rate>,
}

struct Rate {
    lr: f32,
    // 1 - lr * weight_decay, rounded from f64
    decay: f32,
}
