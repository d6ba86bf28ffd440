// The constants of a group.

struct Group {
    // The rule's number among those of the optimizer.
    rule: u32,
    // Which of its kernel's hyperparameters are the group's.
    hyper: u32,
    // -1 to maximize, else 1.
    grad_sign: f32,
    clip_value: f32,

    seed: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,

    // What the rule's scalars are made of.
    step_hyper: StepHyper,
}
