//! What parameters, gradients and state hold of a device's memory, in the combinations that make sense.

use std::sync::Arc;

use std::collections::HashSet;

use anyhow::Result;
use fallline::{
    Dtype, Gpu, Group, Optimizer, Precision, Rule, StateFormat, TensorId, TensorSpec, wgpu::Buffer,
};

use crate::{
    precision::{Master, Numerics},
    print,
};

/// Bytes for each parameter of a model, from the sizes of the buffers.
#[derive(Debug, serde::Serialize)]
pub(super) struct Held {
    model: &'static str,
    rule: String,
    params: u64,
    #[serde(flatten)]
    numerics: Numerics,
    param_bytes: f64,
    grad_bytes: f64,
    /// State, and what is kept beside parameters.
    state_bytes: f64,
    total_bytes: f64,
}

/// The combinations that are worth their loss of accuracy, from the largest to the smallest.
fn combinations() -> Vec<Numerics> {
    let f32 = Numerics::default();
    let bf16 = Numerics { param: Dtype::Bf16, grad: Dtype::Bf16, ..f32 };
    let with =
        |numerics: Numerics, precision: Precision, states: &[StateFormat]| -> Vec<Numerics> {
            states.iter().map(|&state| Numerics { precision, state, ..numerics }).collect()
        };
    use Precision::{Nearest, Remainder, Remainder8, Stochastic};
    use StateFormat::{Bf16, Companded, F32, Fp8, Int4, Int8};
    [
        with(f32, Nearest, &[F32, Bf16, Companded, Int8, Fp8, Int4]),
        with(bf16, Precision::Master, &[F32, Int8]),
        with(bf16, Remainder, &[F32, Bf16, Companded, Int8]),
        with(bf16, Remainder8, &[Companded, Int8, Int4]),
        with(bf16, Stochastic, &[Int8, Int4]),
    ]
    .concat()
}

/// Builds each combination once and adds up its buffers.
pub(super) fn measure(
    gpu: &Gpu,
    (model, name, rule): (&'static str, String, Arc<dyn Rule>),
    specs: &[TensorSpec],
) -> Result<Vec<Held>> {
    let mut rows = Vec::new();
    for numerics in combinations() {
        let groups = [numerics.group(Group::new("all", rule.clone()))];
        let specs: Vec<TensorSpec> = specs.iter().map(|spec| numerics.spec(spec.clone())).collect();
        let optimizer = Optimizer::arena(gpu, &groups, &specs)?;
        let mut params = 0;
        let (mut param_buffers, mut grad_buffers) = (HashSet::new(), HashSet::new());
        for (index, spec) in specs.iter().enumerate() {
            let id = TensorId::new(index);
            params += spec.len_elems()?;
            param_buffers.insert(optimizer.param(id)?.buffer().clone());
            grad_buffers.insert(optimizer.grad(id)?.buffer().clone());
        }
        let per_param = |bytes: u64| bytes as f64 / params.max(1) as f64;
        let sum = |buffers: &HashSet<Buffer>| per_param(buffers.iter().map(Buffer::size).sum());
        let (param_bytes, grad_bytes) = (sum(&param_buffers), sum(&grad_buffers));
        let state_bytes = per_param(optimizer.state_size_bytes());
        rows.push(Held {
            model,
            rule: name.clone(),
            params,
            numerics,
            param_bytes,
            grad_bytes,
            state_bytes,
            total_bytes: param_bytes + grad_bytes + state_bytes,
        });
        drop((optimizer, param_buffers, grad_buffers));
        // What was dropped is given back to the device here.
        gpu.wait()?;
    }
    Ok(rows)
}

const HEAD: [&str; 9] =
    ["model", "rule", "param", "beside", "grad", "state", "B param", "B state", "B total"];

pub(super) fn table(rows: &[Held]) -> String {
    let cells = |row: &Held| {
        let Numerics { param, grad, precision, state, .. } = row.numerics;
        let beside = match precision {
            Precision::Nearest => "-".to_owned(),
            Precision::Stochastic => precision.to_string(),
            _ => Master::of(precision).to_string(),
        };
        vec![
            row.model.to_owned(),
            row.rule.clone(),
            param.to_string(),
            beside,
            grad.to_string(),
            state.to_string(),
            format!("{:.2}", row.param_bytes + row.grad_bytes),
            format!("{:.2}", row.state_bytes),
            format!("{:.2}", row.total_bytes),
        ]
    };
    print::table(&HEAD, rows.iter().map(cells))
}
