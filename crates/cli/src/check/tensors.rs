//! Many tensors at once: records in a uniform buffer up to 1,024 of them, in a storage buffer beyond.

use anyhow::{Result, ensure};
use fallline::{AdamW, Group, Optimizer, Step, TensorId, TensorSpec};
use fallline_reference::{self as reference, Tensor};
use serde_json::json;

use super::{
    numbers::{Rng, ulp},
    rules::widened,
    subject::{Finding, Subject, Worst},
};

/// So many tensors step as the f64 oracle, each with a step counter of its own, in the dispatches of a single one.
pub(super) fn many(subject: &Subject, count: usize) -> Result<Finding> {
    let groups = [Group::new("all", AdamW::new().lr(1e-2))];
    let mut rng = Rng(count as u64);
    let params: Vec<Vec<f32>> = (0..count).map(|i| rng.values(1 + 37 * i % 400, 1.0)).collect();
    let spec =
        |(index, param): (usize, &Vec<f32>)| TensorSpec::new(format!("t{index}"), [param.len()]);
    let specs: Vec<TensorSpec> = params.iter().enumerate().map(spec).collect();
    let mut optimizer = Optimizer::arena(&subject.gpu, &groups, &specs)?;
    let single = Optimizer::arena(&subject.gpu, &groups, &specs[..1])?.dispatches();
    ensure!(
        optimizer.dispatches() == single,
        "{count} tensors take {} dispatches, one {single}",
        optimizer.dispatches()
    );
    let oracle = reference::rule("adamw", &json!({}));
    let mut tensors = Vec::new();
    for (index, param) in params.iter().enumerate() {
        optimizer.write_param(TensorId::new(index), param)?;
        tensors.push(Tensor::<f64>::new(&*oracle, widened(param)));
    }
    // In the first step every third has no gradient.
    let absent: Vec<TensorId> = (0..count).step_by(3).map(TensorId::new).collect();
    for absent in [&absent[..], &[]] {
        for (index, param) in params.iter().enumerate() {
            let grad = rng.values(param.len(), 0.2);
            optimizer.write_grad(TensorId::new(index), &grad)?;
            if !absent.contains(&TensorId::new(index)) {
                tensors[index].step(&*oracle, 1e-2, &widened(&grad));
            }
        }
        optimizer.step(&Step::new().without_grad(absent))?;
    }
    let mut worst = Worst::new("ULP");
    for (index, tensor) in tensors.iter().enumerate() {
        let found = optimizer.read_param(TensorId::new(index))?;
        for (at, (found, exact)) in found.iter().zip(&tensor.param).enumerate() {
            let error = (f64::from(*found) - exact).abs() / ulp(params[index][at].into());
            worst.take(error, || format!("t{index}[{at}]"));
        }
    }
    // Two steps, each within 4.
    Ok(worst.at_most(8.0))
}
