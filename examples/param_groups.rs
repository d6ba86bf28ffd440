//! Parameter groups: other hyperparameters, other rules, one schedule; a tensor without gradient.
//!
//! Weights decay, biases do not, and the embedding is stepped by Lion; all in one compute pass.

use fallline::{AdamW, Gpu, Group, Lion, Optimizer, Step, TensorSpec};

fn main() -> fallline::Result<()> {
    let gpu = Gpu::from_env()?;
    let groups = [
        Group::new("weights", AdamW::new().lr(1e-3).weight_decay(0.1)),
        Group::new("biases", AdamW::new().lr(2e-3).weight_decay(0.0)),
        Group::new("embedding", Lion::new().lr(1e-4)),
    ];
    let tensors = [
        TensorSpec::new("layer.weight", [128, 64]), // in the first group
        TensorSpec::new("layer.bias", [128]).in_group("biases"),
        TensorSpec::new("embedding", [1000, 64]).in_group("embedding"),
    ];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &tensors)?;
    let ids: Vec<_> = optimizer.tensors().map(|(id, spec)| (id, spec.shape.clone())).collect();
    for (id, shape) in &ids {
        let len = shape.iter().product();
        optimizer.write_param(*id, &vec![1.0; len])?;
        optimizer.write_grad(*id, &vec![0.5; len])?;
    }

    // A schedule keeps the ratios of the groups' learning rates: here a linear warm-up.
    let embedding = [ids[2].0];
    for step in 1..=10 {
        let warm_up = Step::lr_factor(f64::from(step) / 10.0);
        // The embedding has no gradient in every other step: it and its step counter stay.
        let step = if step % 2 == 0 { warm_up.without_grad(&embedding) } else { warm_up };
        optimizer.step(&step)?;
    }

    println!("one pass of {} dispatches on {}", optimizer.dispatches(), gpu.adapter_info().name);
    let steps = optimizer.read_steps()?;
    for ((id, _), steps) in ids.iter().zip(&steps) {
        let group = optimizer.group_of(*id)?;
        let value = optimizer.read_param(*id)?[0];
        println!("{:10} {:6} {steps:2} steps: {value:.6}", group.name, group.rule.name());
    }
    assert_eq!(steps, [10, 10, 5]);
    Ok(())
}
