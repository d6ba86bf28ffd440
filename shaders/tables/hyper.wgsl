// The constants of a kernel: those of the optimizer, and those of the rule, for each distinct set of them among
// the kernel's groups.
//
// If there is one set only, its index is a constant too, and the hyperparameters are read as if they
// were literals. (Measured on Mesa's software driver: an index that differs between lanes costs 3 to
// 5 % of an AdamW step.)

struct Hypers {
    // Limits the gradient's elements: clipping by value.
    clip_value: f32,
    // For stochastic rounding.
    seed: u32,
    padding0: u32,
    padding1: u32,
    of_groups: array<Hyper, 512>,
}

// Whether all groups of the kernel have the same hyperparameters.
override ONE_HYPER: bool = false;

fn load_hyper(tensor: Tensor) -> Hyper {
    return hypers.of_groups[select(tensor.hyper & ~ZERO_GRAD, 0u, ONE_HYPER)];
}
