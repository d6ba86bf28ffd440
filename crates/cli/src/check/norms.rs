//! Norms and clipping, decided on the GPU, against f64.

use anyhow::{Context, Result};
use fallline::{Gpu, Group, Optimizer, Options, Sgd, Step, StepReport, TensorId, TensorSpec};

use super::{
    numbers::Rng,
    subject::{Finding, Subject, Worst},
};

/// One step of SGD over these gradients.
fn step(gpu: &Gpu, grads: &[Vec<f32>], options: &Options) -> Result<(Optimizer, StepReport)> {
    let spec =
        |(index, grad): (usize, &Vec<f32>)| TensorSpec::new(format!("t{index}"), [grad.len()]);
    let specs: Vec<TensorSpec> = grads.iter().enumerate().map(spec).collect();
    let groups = [Group::new("all", Sgd::new().lr(1.0))];
    let mut optimizer = Optimizer::arena_with(gpu, &groups, &specs, options)?;
    for (index, grad) in grads.iter().enumerate() {
        optimizer.write_grad(TensorId::new(index), grad)?;
    }
    optimizer.step(&Step::new())?;
    let report = optimizer.wait_reports()?.pop().context("a step without a report")?;
    Ok((optimizer, report))
}

fn norm_f64(grads: &[Vec<f32>]) -> f64 {
    grads.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
}

/// How far a number is from another, as a part of it.
fn relative(found: f32, exact: f64) -> f64 {
    if exact == 0.0 { f64::from(found).abs() } else { (f64::from(found) / exact - 1.0).abs() }
}

pub(super) fn measured(subject: &Subject) -> Result<Finding> {
    let options = Options { max_norm: Some(f64::INFINITY), ..Options::default() };
    let mut rng = Rng(3);
    let mut many: Vec<(String, Vec<f32>)> = Vec::new();
    for exponent in subject.effort.of([
        &[-30, 0, 30][..],
        &[-30, -18, -6, 0, 6, 18, 30],
        &[-30, -24, -18, -12, -6, 0, 6, 12, 18, 24, 30],
    ]) {
        for len in [1, 31, 257, 100_003] {
            let values = rng.values(len, 10f32.powi(*exponent));
            many.push((format!("{len} elements around 1e{exponent}"), values));
        }
    }
    let mixed = (0..300_000).map(|_| rng.normal(-99..100)).collect();
    many.push(("300000 elements from 1e-30 to 1e30".to_owned(), mixed));
    let mut lonely = vec![1e-25f32; 70_000];
    lonely[69_999] = 3e29;
    many.push(("3e29 among 1e-25".to_owned(), lonely));
    many.push(("1234567 times 0.1".to_owned(), vec![0.1; 1_234_567]));
    many.push(("zeros".to_owned(), vec![0.0; 1000]));
    let norm = |(what, grad): (String, Vec<f32>)| -> Result<(String, f32, f64)> {
        let grads = [grad];
        let (_, report) = step(&subject.gpu, &grads, &options)?;
        Ok((what, report.norm, norm_f64(&grads)))
    };
    let norms = many.into_iter().map(norm).collect::<Result<Vec<_>>>()?;
    Ok(judge_norms(&norms))
}

/// Of what, found and exact.
fn judge_norms(norms: &[(String, f32, f64)]) -> Finding {
    let mut worst = Worst::new("relative error");
    for (what, found, exact) in norms {
        worst.take(relative(*found, *exact), || format!("norm {found:e} of {what}"));
    }
    worst.at_most(1e-6)
}

/// Over many tensors, and what becomes of the parameters.
pub(super) fn clipped(subject: &Subject) -> Result<Finding> {
    let mut rng = Rng(6);
    let lengths = [1, 3, 255, 256, 257, 1021, 4097, 40_009];
    let grads: Vec<Vec<f32>> = lengths.iter().map(|len| rng.values(*len, 0.1)).collect();
    let norm = norm_f64(&grads);
    let mut worst = Worst::new("relative error");
    for max_norm in [0.5 * norm, 0.999 * norm, 2.0 * norm, 1e-3] {
        let options = Options { max_norm: Some(max_norm), ..Options::default() };
        let (optimizer, report) = step(&subject.gpu, &grads, &options)?;
        let factor = (max_norm / (norm + 1e-6)).min(1.0);
        worst.take(relative(report.clip_factor, factor), || {
            format!(
                "clip factor {:e} for a norm of {norm:.3} and a limit of {max_norm:.3}",
                report.clip_factor
            )
        });
        for (index, grad) in grads.iter().enumerate() {
            let param = optimizer.read_param(TensorId::new(index))?;
            for (at, (param, grad)) in param.iter().zip(grad).enumerate() {
                let error = relative(*param, -f64::from(*grad) * factor);
                worst.take(error, || format!("t{index}[{at}] clipped to {max_norm:.3}"));
            }
        }
    }
    // Of the factor two millionths, and a product.
    Ok(worst.at_most(2.2e-6))
}

/// What is not finite skips the step, and nothing is touched.
pub(super) fn skipped(subject: &Subject) -> Result<Finding> {
    let options = Options { skip_non_finite: true, ..Options::default() };
    let mut differing = Vec::new();
    let kinds = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0xff80_0001)];
    for (index, kind) in kinds.into_iter().enumerate() {
        let mut grad = vec![1.0; 5000];
        grad[4999 - 7 * index] = kind;
        let (optimizer, report) = step(&subject.gpu, &[grad], &options)?;
        let untouched = optimizer.read_param(TensorId::new(0))?.iter().all(|p| p.to_bits() == 0);
        if !report.skipped || !untouched {
            differing.push(format!("a gradient with {kind} was not skipped to the bit"));
        }
    }
    // Its square is beyond f32, and so would be the norm of two.
    let mut grad = vec![0.0; 300];
    grad[299] = f32::MAX;
    let (_, report) = step(&subject.gpu, &[grad], &options)?;
    if report.skipped {
        differing.push("a finite gradient was skipped".to_owned());
    }
    Ok(super::subject::none_differs(("steps", 1 + kinds.len()), differing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_that_is_off_in_the_sixth_digit_is_found() {
        let judged = |found: f32| {
            let norms = [("zeros".to_owned(), 0.0, 0.0), ("all".to_owned(), found, 3.0)];
            judge_norms(&norms)
        };
        assert!(matches!(judged(3.000_002), Finding::Passed(_)));
        for found in [3.000_01, f32::INFINITY, f32::NAN, 0.0] {
            let Finding::Failed { measured, .. } = judged(found) else { panic!("{found} passed") };
            assert!(measured.at.ends_with("of all"), "{measured}");
        }
        assert!(matches!(judge_norms(&[("zeros".to_owned(), 1e-3, 0.0)]), Finding::Failed { .. }));
    }
}
