//! What is kept beyond a run: saved, or in blocks of codes.

use anyhow::{Context, ensure};
use fallline::{
    AdamW, BlockSpec, Dtype, Gpu, Group, LoadOptions, Optimizer, Precision, Quantizer, Saved,
    StateFormat, Step, TensorSpec,
};

use crate::{
    ID, encoder, expect, gpu,
    numbers::{bits, values},
};

/// No whole number of spans, and odd.
const LEN: usize = 1021;

pub(crate) async fn saved() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let (mut straight, mut resumed) = (low_bit(&gpu)?, low_bit(&gpu)?);
    straight.store_param(ID, &values(LEN, 0)).await?;
    run(&mut straight, 1..=3).await?;
    resumed.load_from(&mut save(&straight).await?, LoadOptions::new()).await?;
    run(&mut straight, 4..=5).await?;
    run(&mut resumed, 4..=5).await?;
    ensure!(save(&straight).await? == save(&resumed).await?, "they differ two steps later");
    Ok(())
}

pub(crate) async fn converted() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let mut from = low_bit(&gpu)?;
    from.store_param(ID, &values(LEN, 0)).await?;
    run(&mut from, 1..=3).await?;
    let groups = [Group::new("all", AdamW::new())];
    let mut to = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("t", [LEN])])?;
    to.load_from(&mut save(&from).await?, LoadOptions::new().convert()).await?;
    // A remainder of 16 bits keeps all of an f32.
    let (kept, loaded) = (from.fetch_master(ID).await?, to.fetch_param(ID).await?);
    ensure!(bits(&kept) == bits(&loaded), "the parameters differ");
    for slot in ["exp_avg", "exp_avg_sq"] {
        let (kept, loaded) = (from.fetch_state(ID, slot).await?, to.fetch_state(ID, slot).await?);
        ensure!(bits(&kept) == bits(&loaded), "{slot} differs");
    }
    expect("the step counters", to.fetch_steps().await?, [3])
}

/// Where a parameter is evaluated is read as it is put there, and what is saved then goes on from where it is trained.
pub(crate) async fn evaluated() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let groups = [Group::new("all", AdamW::new()).ema_decay(0.5)];
    let build = || Optimizer::arena(&gpu, &groups, &[TensorSpec::new("t", [LEN])]);
    let (mut optimizer, mut loaded) = (build()?, build()?);
    optimizer.store_param(ID, &values(LEN, 0)).await?;
    run(&mut optimizer, 1..=3).await?;
    let (trained, read) = (optimizer.fetch_param(ID).await?, optimizer.fetch_eval(ID).await?);
    ensure!(trained != read, "an average of itself");
    optimizer.eval()?;
    loaded.load_from(&mut save(&optimizer).await?, LoadOptions::new()).await?;
    for optimizer in [&mut optimizer, &mut loaded] {
        let put = optimizer.fetch_param(ID).await?;
        ensure!(bits(&put) == bits(&read), "it is evaluated elsewhere than was read");
        optimizer.train()?;
        let back = optimizer.fetch_param(ID).await?;
        ensure!(bits(&back) == bits(&trained), "it did not come back");
    }
    Ok(())
}

/// A plan is of an optimizer as it stands.
pub(crate) async fn planned() -> anyhow::Result<()> {
    let mut optimizer = low_bit(&gpu().await?)?;
    optimizer.store_param(ID, &values(LEN, 0)).await?;
    run(&mut optimizer, 1..=3).await?;
    let plan = optimizer.fetch_plan().await?;
    let bytes = |number: usize| {
        let contents = plan.buffers[number].contents.as_ref();
        contents.filter(|contents| contents.offset == 0).map(|contents| &contents.bytes[..])
    };
    expect("the step counters", bytes(plan.reports.steps), Some(&[3, 0, 0, 0][..]))?;
    let param = bytes(plan.tensors[0].param.buffer).context("there are no parameters")?;
    let codes = param.chunks_exact(2).map(|code| u32::from_le_bytes([0, 0, code[0], code[1]]));
    let planned: Vec<u32> = codes.take(LEN).collect();
    ensure!(planned == bits(&optimizer.fetch_param(ID).await?), "the parameters differ");
    Ok(())
}

pub(crate) async fn quantized() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let quantizer = Quantizer::arena(&gpu, &[BlockSpec::new("v", LEN as u64, StateFormat::Fp8)])?;
    let original = values(LEN, 0);
    quantizer.store_values(ID, &original).await?;
    let mut recorded = encoder(&gpu);
    quantizer.encode_quantize(&mut recorded);
    gpu.queue().submit([recorded.finish()]);
    let blocks = quantizer.fetch_blocks(ID).await?;
    expect("bytes of 4 spans of 256 codes and a scale", blocks.len(), 4 * 260)?;
    quantizer.store_values(ID, &[9.0; LEN]).await?;
    let mut recorded = encoder(&gpu);
    quantizer.encode_dequantize(&mut recorded);
    gpu.queue().submit([recorded.finish()]);
    for (before, after) in original.iter().zip(quantizer.fetch_values(ID).await?) {
        // Half a unit in the last of three bits behind the point, or of the smallest numbers.
        let bound = f32::max(before.abs() / 16.0, 1e-5);
        ensure!((before - after).abs() <= bound, "{before} became {after}");
    }
    Ok(())
}

/// AdamW with a parameter in bf16 beside a remainder and moments in int8.
fn low_bit(gpu: &Gpu) -> fallline::Result<Optimizer> {
    let groups = [Group::new("all", AdamW::new())];
    let spec = TensorSpec::new("t", [LEN]).dtype(Dtype::Bf16);
    let spec = spec.precision(Precision::Remainder).state(StateFormat::Int8);
    Optimizer::arena(gpu, &groups, &[spec])
}

async fn run(
    optimizer: &mut Optimizer,
    steps: std::ops::RangeInclusive<u16>,
) -> fallline::Result<()> {
    for step in steps {
        optimizer.store_grad(ID, &values(LEN, step)).await?;
        optimizer.step(&Step::new())?;
    }
    Ok(())
}

async fn save(optimizer: &Optimizer) -> fallline::Result<Saved> {
    let mut saved = Saved::default();
    optimizer.save_to(&mut saved).await?;
    Ok(saved)
}
