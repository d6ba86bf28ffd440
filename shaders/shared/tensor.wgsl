// What is equal for all elements of a tensor in one step; written by control/advance.wgsl.

struct Tensor {
    // lr / (1 - beta1^t); plain lr for rules without bias correction.
    step_size: f32,
    // 1 / sqrt(1 - beta2^t)
    bias_correction2_rsqrt: f32,
    // 1 - lr * weight_decay
    decay: f32,
    // Multiplies the gradient: -1 to maximize, else 1.
    grad_scale: f32,
    // t, counted from 1; 0: the tensor has no gradient in this step, and stays as it is.
    step: u32,
    // Which of the kernel's hyperparameters are the tensor's.
    hyper: u32,
    // Where the tensor begins in its buffers (borrowed frame only).
    param_vec4: u32,
    grad_vec4: u32,
    state_vec4: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}
