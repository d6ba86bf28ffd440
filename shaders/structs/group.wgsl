// The constants of a group.

struct Group {
    // Which of its kernel's hyperparameters are the group's.
    hyper: u32,
    // -1 to maximize, else 1.
    grad_sign: f32,
    // Where the scalars that its rule keeps for many tensors lie, behind those of each tensor.
    joint: u32,
    // Every this many steps the slow parameter goes this far to the parameter: Lookahead; 0: never.
    lookahead_k: u32,

    lookahead_alpha: f32,
    // How far an average goes to the parameter at least: see `average_weight` of control/advance.wgsl.
    average_weight: f32,
    // Groups whose rules differ in hyperparameters only are of one family.
    family: u32,
    padding0: u32,

    // The step of the first average, and steps from one to the next.
    average_start: u32,
    average_every: u32,
    // Further at first: this over the number of averages before plus average_offset.
    average_ramp: f32,
    average_offset: u32,

    // The limit to the root mean square of a direction, and what is added to it for each unit of learning rate.
    update_limit: f32,
    update_limit_of_lr: f32,
    padding1: u32,
    padding2: u32,

    // What the rule's scalars are made of.
    step_hyper: StepHyper,
}
