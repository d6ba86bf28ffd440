use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};

use crate::common::{Net, adamw, batches, copied, fused};

#[test]
fn losses_are_those_of_burns_adamw() {
    let mut ours = Net::new(1);
    let mut theirs = copied(&ours);
    let (fused, mut optim) = fused(adamw());
    let mut burns = AdamWConfig::new().with_weight_decay(0.01).init();
    let batches = batches(5);
    let (mut worst, mut first, mut last) = (0f32, 0f32, 0f32);
    for step in 0..100 {
        let lr = 1e-2 * (1.0 - f64::from(step) / 120.0);
        let batch = &batches[step as usize % batches.len()];
        let (our_loss, grads) = ours.grads(batch);
        ours = fused.step(&mut optim, lr, ours, grads);
        let (their_loss, grads) = theirs.grads(batch);
        theirs = burns.step(lr, theirs, grads);
        worst = worst.max((our_loss - their_loss).abs());
        (first, last) = (if step == 0 { our_loss } else { first }, our_loss);
    }
    assert!(worst <= 1e-6, "losses differ by up to {worst}");
    assert!(last < 0.8 * first, "it does not learn: {first} to {last}");
}

/// As a step costs what it promises: one pass, whatever the number of parameters.
#[test]
fn a_step_has_as_many_dispatches_for_many_parameters() {
    let net = Net::new(2);
    let (fused, mut optim) = fused(adamw());
    let (_, grads) = net.grads(&batches(1)[0]);
    let _net = fused.step(&mut optim, 1e-3, net, grads);
    // Counters of steps, where tensors lie, and updates for each pair of buffers.
    assert!((2..=10).contains(&fused.dispatches()), "{}", fused.dispatches());
    assert!(fused.state_size_bytes() >= 8 * (2 * 67 * 131 + 132));
}

/// A module whose optimizer is Burn's is stepped by Burn.
#[test]
fn other_optimizers_are_left_alone() {
    let mut ours = Net::new(3);
    let mut theirs = copied(&ours);
    let config = AdamWConfig::new();
    let (mut one, mut other): (ModuleOptimizer, ModuleOptimizer) = (config.init(), config.init());
    let batch = &batches(1)[0];
    let grads = |net: &Net| -> GradientsParams { net.grads(batch).1 };
    let (a, b) = (grads(&ours), grads(&theirs));
    ours = fallline_burn::step(&mut one, 1e-3, ours, a);
    theirs = other.step(1e-3, theirs, b);
    assert_eq!(ours.values(), theirs.values());
}
