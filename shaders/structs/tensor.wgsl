// What is equal for all elements of a tensor in one step; written by control/advance.wgsl. In the order in
// which updates read it, so that what is read together lies in one vec4.

const ZERO_GRAD: u32 = 0x10000u;

struct Tensor {
    // The rule's own: its `scalars`.
    scalars: Scalars,

    // Multiplies the gradient: 1 / loss scale, negative to maximize.
    grad_scale: f32,
    // Multiplies it then: clipping to a norm, by the number of accumulated gradients.
    clip_factor: f32,
    // t, counted from 1; 0: no gradient, or the step is skipped, and the tensor stays as it is.
    step: u32,
    // Multiplies the direction: functions/steering.wgsl. Before control/finish.wgsl, the limit to its RMS.
    direction_scale: f32,

    // The first vec4 of its state, counted in elements of the segment: in the arena that of every role.
    first_vec4: u32,
    // How long the tensor is: whole vec4s, and elements behind the last of these.
    len_vec4: u32,
    tail_elems: u32,
    // Which of the kernel's hyperparameters are the tensor's; and ZERO_GRAD, if the gradient is set to zero behind the
    // step.
    hyper: u32,

    // How far the slow parameter goes to the parameter: Lookahead; 0 in most steps.
    slow_weight: f32,
    // How far the average goes to the parameter.
    average_weight: f32,
    // For stochastic rounding: the tensor's number, and where it begins in the whole that it is a piece of.
    number: u32,
    whole_vec4: u32,
}
