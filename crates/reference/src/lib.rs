//! CPU twins of fallline's shaders: the same files under the same names, in Rust. Knows no GPU.
//!
//! Each rule has two:
//! - the **twin** computes in f32, in the order of operations of the WGSL. It says what the shader
//!   should give, up to the roundings that WGSL leaves open;
//! - the **oracle** computes the published formula in f64, as torch writes it. It says what is right.
//!
//! Both work on one element and are driven by [`Tensor`], which steps a whole tensor, and by [`step_all`], which
//! steps those of an optimizer.

#![allow(
    clippy::cast_possible_truncation,
    reason = "rounding f64 constants to f32 is what a twin does"
)]

pub mod design;
pub mod formats;
pub mod functions;
mod number;
pub mod rules;
mod schedule_free;
mod steering;
mod step;
mod tensor;
pub mod ulp;

pub use number::Number;
pub use rules::{Extent, NAMES, Rule, Scalars, Scope, Slot, cases, rule};
pub use steering::Steering;
pub use step::{step_all, step_groups};
pub use tensor::{Average, Averaging, Slow, Tensor};

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
