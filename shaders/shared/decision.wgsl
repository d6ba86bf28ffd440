// What control/decide.wgsl decides about a step: what the other kernels need, and the report.

struct Decision {
    // Steps so far, with those that were skipped.
    step: u32,
    // Whether this one is skipped.
    skipped: u32,
    skipped_total: u32,
    // By which the gradients of this step were multiplied.
    loss_scale: f32,
    // 1 / loss_scale
    unscale: f32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
    // Of all tensors first, then of each group.
    norms: array<Norm>,
}

struct Norm {
    // Of the gradients, unscaled and not yet clipped.
    norm: f32,
    clip_factor: f32,
}
