// The constants of the rule, for each distinct set of them among the kernel's groups.
//
// If there is one set only, its index is a constant too, and the hyperparameters are read as if they
// were literals. (Measured on Mesa's software driver: an index that differs between lanes costs 3 to
// 5 % of an AdamW step.)

// Whether all groups of the kernel have the same hyperparameters.
override ONE_HYPER: bool = false;

fn load_hyper(tensor: Tensor) -> Hyper {
    return hypers[select(tensor.hyper, 0u, ONE_HYPER)];
}
