// The constants of a group.

struct Group {
    // Which of its kernel's hyperparameters are the group's.
    hyper: u32,
    // -1 to maximize, else 1.
    grad_sign: f32,
    // Where the scalars that its rule keeps for many tensors lie, behind those of each tensor.
    joint: u32,
    // Every so many steps the slow parameter goes this far to the parameter: Lookahead; 0: never.
    lookahead_k: u32,

    lookahead_alpha: f32,
    // How far an average goes to the parameter; all the way in the first step.
    average_weight: f32,
    // Groups whose rules differ in hyperparameters only are of one family.
    family: u32,
    padding0: u32,

    // What the rule's scalars are made of.
    step_hyper: StepHyper,
}
