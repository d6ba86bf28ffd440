// What a step brings, beside the tensors without gradient.

struct StepInput {
    // Multiplies the gradients: 1 / number of gradients that were accumulated.
    grad_factor: f32,
    // Whether gradients are set to zero behind the step.
    zero_grads: u32,
    // Whether the loss scale stays, because another optimizer that shares it steps after this one.
    keep_loss_scale: u32,
    // Reports of steps up to this one have been handed out.
    reported: u32,
    // Whether control/decide.wgsl runs, which counts the step then.
    decides: u32,
    // Which entry of those for reports the step fills, counted from 1, if it is monitored; 0 if not.
    monitored: u32,
    padding0: u32,
    padding1: u32,
    // The learning rate of each tensor.
    rates: array<f32>,
}
