//! Steps, and what they read and write.

use std::sync::Arc;

use anyhow::{Context, ensure};
use fallline::{
    Adafactor, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, Lookahead, LossScaler,
    Optimizer, Options, Places, Rule, Sgd, Step, TensorSpec, wgpu,
};
use fallline_reference::{Rule as Twin, Tensor};

use crate::{
    ID, buffer, encoder, expect, gpu,
    numbers::{all, close, values, within},
    sgd,
};

pub(crate) async fn device() -> anyhow::Result<()> {
    let adapters = fallline::request_adapters(wgpu::Backends::all()).await;
    ensure!(!adapters.is_empty(), "no adapter is listed");
    let gpu = gpu().await?;
    gpu.settle().await?;
    gpu.check_lost()?;
    Ok(())
}

/// In 16 bits and of odd length, where writing begins with reading.
pub(crate) async fn read_back() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let scaler = LossScaler::fixed(&gpu, 4.0)?;
    let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
    let groups = [Group::new("all", Sgd::new().lr(1.0).momentum(0.5))];
    let tensors = [TensorSpec::new("t", [301]).dtype(Dtype::Bf16)];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &tensors, &options)?;
    optimizer.store_param(ID, &[1.0; 301]).await?;
    optimizer.store_grad(ID, &[2.0; 301]).await?;
    optimizer.store_state(ID, "momentum_buffer", &[3.0; 301]).await?;
    optimizer.write_step(ID, 1)?;
    optimizer.step(&Step::new())?;
    gpu.settle().await?;
    all("the parameter", &optimizer.fetch_param(ID).await?, 301, -1.0)?;
    all("the master copy", &optimizer.fetch_master(ID).await?, 301, -1.0)?;
    all("the gradient", &optimizer.fetch_grad(ID).await?, 301, 2.0)?;
    all("the state", &optimizer.fetch_state(ID, "momentum_buffer").await?, 301, 2.0)?;
    expect("the step counters", optimizer.fetch_steps().await?, [2])?;
    expect("the reports", optimizer.fetch_reports().await?.len(), 1)?;
    expect("the loss scale", scaler.fetch().await?.0, 4.0)
}

pub(crate) async fn rules() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    for name in fallline::RULE_NAMES {
        let rule = fallline::rule_by_name(name).context("a rule has no name")?;
        let twin = fallline_reference::rule(name, &serde_json::json!({}));
        follow(&gpu, rule, &*twin).await.context(*name)?;
    }
    Ok(())
}

/// Ten steps of a rule, beside its twin in f32 and its oracle in f64.
async fn follow(gpu: &Gpu, rule: Arc<dyn Rule>, twin: &dyn Twin) -> anyhow::Result<()> {
    /// What WGSL leaves open of the roundings of a step.
    const MAX_ULP: u32 = 2;
    const LEN: usize = 1021;
    let widened = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let tensors = [TensorSpec::new("t", [LEN])];
    let (lr, slots) = (rule.lr(), rule.slots(&tensors[0]));
    let mut optimizer = Optimizer::arena(gpu, &[Group::new("all", rule)], &tensors)?;
    let param = values(LEN, 0);
    optimizer.store_param(ID, &param).await?;
    let mut oracle = Tensor::<f64>::new(twin, widened(&param));
    let mut single = Tensor::<f32>::new(twin, param);
    for step in 1..=10 {
        let grad = values(LEN, step);
        optimizer.store_grad(ID, &grad).await?;
        optimizer.step(&Step::new())?;
        oracle.step(twin, lr, &widened(&grad));
        single.step(twin, lr, &grad);
        let param = optimizer.fetch_param(ID).await?;
        if step == 1 {
            within("the parameter", &param, &single.param, MAX_ULP)?;
        }
        // Where a sign decides, f32 may take the other one: the twin takes the GPU's.
        let exact = if twin.jumps() { widened(&single.param) } else { oracle.param.clone() };
        close("the parameter", &param, &exact)?;
        for slot in slots.iter().map(|slot| slot.name) {
            let found = optimizer.fetch_state(ID, slot).await?;
            close(slot, &found, oracle.get(twin, slot))?;
        }
    }
    Ok(())
}

/// Rows that are narrow, of whole vec4s, of neither; with what comes after an update.
pub(crate) async fn matrices() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let twin = fallline_reference::rule("adafactor", &serde_json::json!({}));
    let group = Group::new("all", Adafactor::new());
    let group = [group.lookahead(Lookahead::new(2, 0.5)).ema_decay(0.9)];
    let widened = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    for shape in [&[9, 3, 3][..], &[70, 300], &[66, 257]] {
        let len = shape.iter().product();
        let tensors = [TensorSpec::new("t", shape)];
        let mut optimizer = Optimizer::arena(&gpu, &group, &tensors)?;
        let param = values(len, 0);
        optimizer.store_param(ID, &param).await?;
        let oracle = Tensor::<f64>::shaped(&*twin, shape, widened(&param));
        let mut oracle = oracle.lookahead(2, 0.5).ema(0.9);
        for step in 1..=3 {
            let grad = values(len, step);
            optimizer.store_grad(ID, &grad).await?;
            optimizer.step(&Step::new())?;
            oracle.step(&*twin, 1e-2, &widened(&grad));
        }
        close("the parameter", &optimizer.fetch_param(ID).await?, &oracle.param)?;
        for slot in ["row_var", "col_var", "slow", "average"] {
            let found = optimizer.fetch_state(ID, slot).await?;
            close(slot, &found, oracle.get(&*twin, slot))?;
        }
    }
    Ok(())
}

/// More than the upload ring has entries: `step` gives its own back when it has submitted.
pub(crate) async fn many() -> anyhow::Result<()> {
    let mut optimizer = sgd(&gpu().await?)?;
    optimizer.store_grad(ID, &[0.5; 300]).await?;
    for _ in 0..200 {
        optimizer.step(&Step::lr(0.25))?;
    }
    all("the parameter", &optimizer.fetch_param(ID).await?, 300, -25.0)?;
    expect("the step counters", optimizer.fetch_steps().await?, [200])
}

pub(crate) async fn recorded() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let mut optimizer = sgd(&gpu)?;
    optimizer.store_grad(ID, &[0.5; 300]).await?;
    for round in 1..=2 {
        let mut recorded = encoder(&gpu);
        for _ in 0..64 {
            optimizer.encode_step(&mut recorded, &Step::lr(0.25))?;
        }
        let more = optimizer.encode_step(&mut encoder(&gpu), &Step::lr(0.25));
        let refused = matches!(more, Err(Error::TooManyUnsubmittedSteps { limit: 64 }));
        ensure!(refused, "the 65th step: {more:?}");
        gpu.queue().submit([recorded.finish()]);
        gpu.settle().await?;
        expect("the step counters", optimizer.fetch_steps().await?, [64 * round])?;
    }
    all("the parameter", &optimizer.fetch_param(ID).await?, 300, -16.0)
}

pub(crate) async fn places() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let param = buffer(&gpu, &[0.0; 300])?;
    let spec = TensorSpec::new("t", [300]);
    let tensor = BorrowedTensor { spec, param: BufferRange::new(&param, 0, 300), grad: None };
    let groups = [Group::new("all", Sgd::new().lr(1.0))];
    let mut optimizer = Optimizer::borrowed(&gpu, &groups, &[tensor])?;
    let mut recorded = encoder(&gpu);
    for grad in [1.0, 2.0, 4.0] {
        // Each in a buffer of its own, from its second vec4 on.
        let range = BufferRange::new(&buffer(&gpu, &[grad; 304])?, 16, 300);
        let grads = [Some(range)];
        optimizer.encode_step_at(&mut recorded, &Step::new(), &Places::of_grads(&grads))?;
    }
    let absent = Places::of_grads(&[None]);
    optimizer.encode_step_at(&mut recorded, &Step::new(), &absent)?;
    gpu.queue().submit([recorded.finish()]);
    all("the parameter", &optimizer.fetch_param(ID).await?, 300, -7.0)?;
    expect("the step counters", optimizer.fetch_steps().await?, [3])
}
