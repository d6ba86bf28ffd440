//! The structs that cross to the GPU. Names and fields are those of the WGSL; a test compares the
//! layouts through naga.

use bytemuck::{Pod, Zeroable};

/// A rule's constants: the 32 bytes of its WGSL `Hyper`.
pub(crate) type Hyper = [f32; 8];

/// What a rule's scalars are made of: the 32 bytes of its WGSL `StepHyper`.
pub(crate) type StepHyper = [f32; 8];

/// What a rule keeps for each tensor: the `kept` of its WGSL.
pub(crate) type Kept = [f32; 4];

/// `Tensor` of `structs/tensor.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Tensor {
    pub(crate) scalars: [f32; 4],
    pub(crate) grad_scale: f32,
    pub(crate) clip_factor: f32,
    pub(crate) step: u32,
    pub(crate) direction_scale: f32,
    pub(crate) first_vec4: u32,
    pub(crate) len_vec4: u32,
    pub(crate) tail_elems: u32,
    pub(crate) hyper: u32,
    pub(crate) slow_weight: f32,
    pub(crate) average_weight: f32,
    pub(crate) number: u32,
    pub(crate) whole_vec4: u32,
}

/// `Hypers` of `tables/hyper.wgsl` without those of the groups.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Hypers {
    pub(crate) clip_value: f32,
    pub(crate) seed: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
}

/// `StepInput` of `structs/step_input.wgsl` without its rates.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct StepInput {
    pub(crate) grad_factor: f32,
    pub(crate) zero_grads: u32,
    pub(crate) keep_loss_scale: u32,
    pub(crate) reported: u32,
    pub(crate) decides: u32,
    pub(crate) monitored: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
}

/// `Group` of `structs/group.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Group {
    pub(crate) hyper: u32,
    pub(crate) grad_sign: f32,
    pub(crate) joint: u32,
    pub(crate) lookahead_k: u32,
    pub(crate) lookahead_alpha: f32,
    pub(crate) average_weight: f32,
    pub(crate) family: u32,
    pub(crate) padding0: u32,
    pub(crate) average_start: u32,
    pub(crate) average_every: u32,
    pub(crate) average_ramp: f32,
    pub(crate) average_offset: u32,
    pub(crate) update_limit: f32,
    pub(crate) update_limit_of_lr: f32,
    pub(crate) padding1: u32,
    pub(crate) padding2: u32,
    pub(crate) step_hyper: StepHyper,
}

/// `Placement` of `structs/placement.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Placement {
    pub(crate) group: u32,
    pub(crate) first_vec4: u32,
    pub(crate) len_vec4: u32,
    pub(crate) tail_elems: u32,
    pub(crate) number: u32,
    pub(crate) whole_vec4: u32,
    pub(crate) first_sum: u32,
    pub(crate) rule: u32,
}

/// `Matrices` of `structs/matrices.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Matrices {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) factors_at: u32,
    pub(crate) columns_at: u32,
    pub(crate) first_sum: u32,
    pub(crate) rows_at: u32,
    pub(crate) rows_total: u32,
    pub(crate) matrices: u32,
    pub(crate) blocks: u32,
    pub(crate) chunks: u32,
    pub(crate) row_parts: u32,
    pub(crate) column_parts: u32,
    pub(crate) first_vectors: u32,
    pub(crate) first_means: u32,
    pub(crate) rows_per_value: u32,
    pub(crate) padding0: u32,
}

/// `Run` of `structs/run.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Run {
    pub(crate) first_tile: u32,
    pub(crate) first_of_dispatch: u32,
    pub(crate) tensor: u32,
    pub(crate) first_vec4: u32,
    pub(crate) len_elems: u32,
    pub(crate) param_vec4: u32,
    pub(crate) grad_vec4: u32,
    pub(crate) state_tile: u32,
}

/// `Piece` of `structs/piece.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Piece {
    pub(crate) first_workgroup: u32,
    pub(crate) tensor: u32,
    pub(crate) len: u32,
    pub(crate) grad_vec4: u32,
    pub(crate) first: u32,
    pub(crate) lead: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
}

/// `Partial` of `structs/partial.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Partial {
    pub(crate) sum: f32,
    pub(crate) exponent: u32,
}

/// `Span` of `structs/span.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) end: u32,
    pub(crate) max_norm: f32,
    pub(crate) own: u32,
    pub(crate) bound_exponent: i32,
}

/// `Total` of `structs/total.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Total {
    pub(crate) limbs: [u32; LIMBS],
    pub(crate) largest: u32,
    pub(crate) infinite: u32,
    pub(crate) not_a_number: u32,
    pub(crate) not_finite: u32,
}

/// `NO_TENSOR` of `structs/total.wgsl`.
pub(crate) const NO_TENSOR: u32 = u32::MAX;

/// Limbs of an exact sum.
pub(crate) const LIMBS: usize = 44;

/// `LossScale` of `structs/loss_scale.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct LossScale {
    pub(crate) scale: f32,
    pub(crate) reciprocal: f32,
    pub(crate) growth_tracker: u32,
    pub(crate) found_inf: u32,
    pub(crate) growth_factor: f32,
    pub(crate) backoff_factor: f32,
    pub(crate) growth_interval: u32,
    pub(crate) min_scale: f32,
}

/// `Decision` of `structs/decision.wgsl` without its norms.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Decision {
    pub(crate) step: u32,
    pub(crate) skipped: u32,
    pub(crate) skipped_total: u32,
    pub(crate) loss_scale: f32,
    pub(crate) unscale: f32,
    pub(crate) not_finite: u32,
    pub(crate) first_step: u32,
    pub(crate) first_tensor: u32,
}

/// `Norm` of `structs/decision.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Norm {
    pub(crate) norm: f32,
    pub(crate) clip_factor: f32,
}

/// `Window` of `structs/window.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Window {
    pub(crate) first_vec4: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
    pub(crate) padding2: u32,
}
