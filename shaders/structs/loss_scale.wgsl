// The loss scale and the rule by which it changes. A runtime's loss kernel may bind the buffer, as
// storage or uniform, and multiply its loss by `scale`.

struct LossScale {
    scale: f32,
    // 1 / scale, exact for a power of two.
    reciprocal: f32,
    // Steps without overflow since the scale changed last.
    growth_tracker: u32,
    // Whether a step since the last update of the scale overflowed.
    found_inf: u32,
    growth_factor: f32,
    backoff_factor: f32,
    // 0: the scale never changes.
    growth_interval: u32,
    min_scale: f32,
}
