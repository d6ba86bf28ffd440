//! What steps measured and decided, on its way to the host.

use anyhow::ensure;
use fallline::{
    AdamW, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options, Sgd, SkipReason, Step,
    TensorSpec,
};

use crate::{
    ID, encoder, expect, gpu,
    numbers::{all, bits, values},
};

pub(crate) async fn arrive() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let mut optimizer = measuring(&gpu, Options { max_norm: Some(1.0), ..Options::default() })?;
    optimizer.store_grad(ID, &[3.0, 4.0]).await?;
    for _ in 0..3 {
        optimizer.step(&Step::new())?;
    }
    let mut reports = optimizer.poll_reports()?;
    expect("reports before the event loop has turned", reports.len(), 0)?;
    while reports.len() < 3 {
        gpu.settle().await?;
        reports.extend(optimizer.poll_reports()?);
    }
    optimizer.step(&Step::new())?;
    reports.extend(optimizer.fetch_reports().await?);
    let steps: Vec<u32> = reports.iter().map(|report| report.step).collect();
    expect("the reported steps", steps, [1, 2, 3, 4])?;
    for report in &reports {
        ensure!((report.norm - 5.0).abs() < 1e-5, "the norm of (3, 4): {report:?}");
        ensure!((report.clip_factor - 0.2).abs() < 1e-6, "the factor to a norm of 1: {report:?}");
    }
    expect("the reports that are left", optimizer.fetch_reports().await?.len(), 0)
}

pub(crate) async fn overflow() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let rule = DynamicScale { init_scale: 8.0, growth_interval: 2, ..DynamicScale::default() };
    let scaler = LossScaler::dynamic(&gpu, rule)?;
    let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
    let mut optimizer = measuring(&gpu, options)?;
    optimizer.store_grad(ID, &[f32::INFINITY, 1.0]).await?;
    optimizer.step(&Step::new())?;
    let report = optimizer.fetch_reports().await?.pop();
    let reason = report.and_then(|report| report.skip_reason);
    expect("why the step was skipped", reason, Some(SkipReason::NonFinite))?;
    all("the parameter of a skipped step", &optimizer.fetch_param(ID).await?, 2, 0.0)?;
    expect("the scale and its steps", scaler.fetch().await?, (4.0, 0))?;
    optimizer.store_grad(ID, &[4.0, 8.0]).await?;
    optimizer.step(&Step::new())?;
    optimizer.step(&Step::new())?;
    expect("the parameter", optimizer.fetch_param(ID).await?, [-2.0, -4.0])?;
    expect("the scale and its steps", scaler.fetch().await?, (8.0, 0))
}

pub(crate) async fn halves() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let build = || {
        let options = Options { max_norm: Some(0.5), ..Options::default() };
        let groups = [Group::new("all", AdamW::new())];
        Optimizer::arena_with(&gpu, &groups, &[TensorSpec::new("t", [1021])], &options)
    };
    let (mut plain, mut halved) = (build()?, build()?);
    for step in 1..=3 {
        let grad = values(1021, step);
        plain.store_grad(ID, &grad).await?;
        halved.store_grad(ID, &grad).await?;
        plain.step(&Step::new())?;
        let mut recorded = encoder(&gpu);
        let measured = halved.encode_measure(&mut recorded, &Step::new())?;
        gpu.queue().submit([recorded.finish()]);
        let sums = halved.fetch_sums().await?;
        let mut recorded = encoder(&gpu);
        halved.encode_update(&mut recorded, measured, &sums)?;
        gpu.queue().submit([recorded.finish()]);
        let (whole, halves) = (plain.fetch_reports().await?, halved.fetch_reports().await?);
        expect("the report of the halves", halves, whole)?;
    }
    let (whole, halves) = (plain.fetch_param(ID).await?, halved.fetch_param(ID).await?);
    ensure!(bits(&whole) == bits(&halves), "the parameters differ");
    Ok(())
}

/// SGD over two elements.
fn measuring(gpu: &Gpu, options: Options) -> fallline::Result<Optimizer> {
    let groups = [Group::new("all", Sgd::new().lr(1.0))];
    Optimizer::arena_with(gpu, &groups, &[TensorSpec::new("t", [2])], &options)
}
