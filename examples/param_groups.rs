//! Parameter groups by name and shape, a schedule for each, and a tensor that is frozen at first.
//!
//! Weights decay, biases and norms do not, and the embedding is stepped by Lion; all in one compute pass.

use fallline::{
    AdamW, Gpu, Group, Groups, Lion, Optimizer, Step, TensorSpec,
    schedule::{ConstantWithWarmup, Schedule},
};

fn main() -> fallline::Result<()> {
    let gpu = Gpu::from_env()?;
    let mut tensors = [
        TensorSpec::new("weight", [128, 64]),
        TensorSpec::new("bias", [128]),
        TensorSpec::new("embedding", [1000, 64]),
    ];
    let groups = Groups::new()
        .group(Group::new("embedding", Lion::new().lr(1e-4)), "embed*")
        .rest(Group::new("weights", AdamW::new().lr(1e-3).weight_decay(0.1)))
        .no_decay()
        .assign(&mut tensors)?;
    let mut optimizer = Optimizer::arena(&gpu, &groups, &tensors)?;
    for (id, spec) in optimizer.tensors() {
        let len = spec.shape.iter().product();
        optimizer.write_param(id, &vec![1.0; len])?;
        optimizer.write_grad(id, &vec![0.5; len])?;
    }

    // The embedding takes part from the sixth step on.
    optimizer.freeze("embed*")?;
    let schedule = ConstantWithWarmup::new(10);
    for t in 0..10 {
        if t == 5 {
            optimizer.unfreeze("embed*")?;
        }
        optimizer.step(&Step::lr_of_group(&|group: &Group| schedule.lr(group.lr(), t)))?;
    }

    println!("one pass of {} dispatches on {}", optimizer.dispatches(), gpu.adapter_info().name);
    let steps = optimizer.read_steps()?;
    for ((id, spec), steps) in optimizer.tensors().zip(&steps) {
        let (group, value) = (optimizer.group_of(id)?, optimizer.read_param(id)?[0]);
        let (rule, group) = (group.rule.name(), &group.name);
        println!("{:10} {rule:6} {steps:2} steps: {value:.6}, in group '{group}'", spec.name);
    }
    assert_eq!(steps, [10, 10, 5]);
    Ok(())
}
