//! How fast a step is, against its own bare loads and stores: `fallline bench`, in short. Any speed passes.

use anyhow::Result;
use fallline::{Dtype, Precision, StateFormat};

use super::subject::{Finding, Measured, Subject};
use crate::{bench, precision::Numerics};

/// The unit of what is measured.
pub(super) const UNIT: &str = "of the roofline";

pub(super) fn f32(subject: &Subject) -> Result<Finding> {
    measure(subject, Numerics::default())
}

pub(super) fn remainder(subject: &Subject) -> Result<Finding> {
    let precision = Precision::Remainder;
    let numerics = Numerics { param: Dtype::Bf16, grad: Dtype::Bf16, precision, ..<_>::default() };
    measure(subject, numerics)
}

pub(super) fn int8(subject: &Subject) -> Result<Finding> {
    measure(subject, Numerics { state: StateFormat::Int8, ..<_>::default() })
}

fn measure(subject: &Subject, numerics: Numerics) -> Result<Finding> {
    // A part of one tensor of 16 million elements, and rounds.
    let (width, rounds) = subject.effort.of([(0.25, 3), (1.0, 7), (1.0, 20)]);
    let short = bench::short(&subject.gpu, numerics, width, rounds)?;
    let at = format!(
        "{:.1} GB/s, a copy {:.1} GB/s, {:.2} ms for {} parameters, by {}",
        short.gb_per_s, short.copy_gb_per_s, short.ms_per_step, short.params, short.timing
    );
    Ok(Finding::Passed(Measured::new(short.roofline, UNIT, at)))
}
