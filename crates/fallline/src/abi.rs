//! The structs that cross to the GPU. Names and fields are those of the WGSL; a test compares the
//! layouts through naga.

use bytemuck::{Pod, Zeroable};

/// A rule's constants: the 32 bytes of its WGSL `Hyper`.
pub(crate) type Hyper = [f32; 8];

/// `Tensor` of `shared/tensor.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Tensor {
    pub(crate) step_size: f32,
    pub(crate) bias_correction2_rsqrt: f32,
    pub(crate) decay: f32,
    pub(crate) grad_scale: f32,
    pub(crate) step: u32,
    pub(crate) hyper: u32,
    pub(crate) param_vec4: u32,
    pub(crate) grad_vec4: u32,
    pub(crate) state_vec4: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
    pub(crate) padding2: u32,
}

/// `GroupStep` of `control/advance.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct GroupStep {
    pub(crate) lr: f32,
    pub(crate) decay: f32,
}

/// `Group` of `control/advance.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Group {
    pub(crate) ln_beta1: f32,
    pub(crate) ln_beta2: f32,
    pub(crate) grad_scale: f32,
    pub(crate) hyper: u32,
}

/// `Placement` of `control/advance.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Placement {
    pub(crate) group: u32,
    pub(crate) param_vec4: u32,
    pub(crate) grad_vec4: u32,
    pub(crate) state_vec4: u32,
}

/// `Chunk` of `frames/borrowed.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Chunk {
    pub(crate) tensor: u32,
    pub(crate) first_vec4: u32,
    pub(crate) len_elems: u32,
}

/// `Window` of `frames/borrowed.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Window {
    pub(crate) param_vec4: u32,
    pub(crate) grad_vec4: u32,
    pub(crate) state_vec4: u32,
    pub(crate) padding0: u32,
}
