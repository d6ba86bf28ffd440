// What control/decide.wgsl decides about a step: what the other kernels need, and the report.

struct Decision {
    // Steps so far, with those that were skipped.
    step: u32,
    // Why this one is skipped; 0 if it is not.
    skipped: u32,
    skipped_total: u32,
    // By which the gradients of this step were multiplied.
    loss_scale: f32,
    // 1 / loss_scale
    unscale: f32,
    // The first tensor with a gradient that is not finite, or NO_TENSOR.
    not_finite: u32,
    // The first step with such a tensor that no report has told of, and this tensor; step 0: there was none.
    first_step: u32,
    first_tensor: u32,
    // Of all tensors first, then of each group.
    norms: array<Norm>,
}

const NOT_FINITE: u32 = 1u;
const BEYOND_BOUND: u32 = 2u;

struct Norm {
    // Of the gradients, unscaled and not yet clipped.
    norm: f32,
    clip_factor: f32,
}
