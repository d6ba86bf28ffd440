use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::Tensor,
};
use fallline_burn::{
    Error, FusedConfig,
    fallline::{AdamW, DynamicScale, Prodigy},
};

use crate::common::{Net, adamw, batches, copied, device, difference, floats, fused, setup};

/// Who forgets the override has right results, slowly.
#[test]
fn outside_of_a_step_each_tensor_is_stepped_at_once() {
    let mut ours = Net::new(61);
    let mut theirs = copied(&ours);
    let (_fused, mut optim) = fused(adamw());
    let mut burns = AdamWConfig::new().with_weight_decay(0.01).init();
    for batch in &batches(5) {
        let (_, grads) = ours.grads(batch);
        let (clone, before) = (ours.clone(), ours.values());
        ours = optim.step(1e-2, ours, grads);
        assert_eq!(clone.values(), before, "a clone changes");
        let (_, grads) = theirs.grads(batch);
        theirs = burns.step(1e-2, theirs, grads);
    }
    assert!(difference(&ours.values(), &theirs.values()) < 2e-6);
}

/// What needs all tensors at once is refused there, and says what to call.
#[test]
fn outside_of_a_step_what_needs_all_tensors_is_refused() {
    let configs = [
        adamw().with_max_norm(1.0),
        adamw().with_skip_non_finite(),
        adamw().with_loss_scale(DynamicScale::default()),
        FusedConfig::new(Prodigy::new()),
        FusedConfig::new(AdamW::new()).with_group(|group| group.max_norm(1.0)),
    ];
    let batch = &batches(1)[0];
    for config in configs {
        let net = Net::new(62);
        let (fused, mut optim) = fused(config);
        let (_, grads) = net.grads(batch);
        let panicked = catch_unwind(AssertUnwindSafe(|| optim.step(1e-2, net.clone(), grads)));
        let message = panicked.err().and_then(|panic| panic.downcast::<String>().ok());
        let message = message.expect("it is refused");
        assert!(message.contains("TrainStep::optimize"), "{message}");
        // And within a step it works, as if nothing had been.
        let before = net.values();
        let mut optim = ModuleOptimizer::from(fused.clone());
        let (_, grads) = net.grads(batch);
        assert_ne!(fused.step(&mut optim, 1e-2, net, grads).values(), before);
    }
}

#[derive(Module, Debug)]
struct One {
    w: Param<Tensor<1>>,
}

/// A step that is refused leaves the module as it was, and Burn's handlers are not called: they would panic.
#[test]
fn a_refused_step_changes_nothing() {
    let one = One { w: Param::from_tensor(Tensor::ones([5], device())) };
    let (fused, mut optim) = fused(adamw());
    let grads = |len: usize| {
        let mut grads = GradientsParams::new();
        grads.register(one.w.id, Tensor::<1>::ones([len], &device().clone().inner()));
        grads
    };
    let one = fused.step(&mut optim, 1e-2, one.clone(), grads(5));
    let before = floats(one.w.val());
    let refused = fused.try_step(&mut optim, 1e-2, one, grads(6)).expect_err("of another shape");
    assert!(matches!(refused.error, Error::Changed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("'w'"), "{refused}");
    assert_eq!(floats(refused.module.w.val()), before);
    // A rate that is none is found by the engine, before anything is written.
    let refused = fused.try_step(&mut optim, f64::NAN, refused.module, grads(5));
    let refused = refused.expect_err("no number");
    assert!(matches!(refused.error, Error::Engine(_)), "{refused:?}");
    assert_eq!(floats(refused.module.w.val()), before);
    let one = fused.step(&mut optim, 1e-2, refused.module, grads(5));
    assert_ne!(floats(one.w.val()), before);
}

#[test]
fn hyperparameters_out_of_range_are_told_with_the_first_step() {
    let one = One { w: Param::from_tensor(Tensor::ones([5], device())) };
    let (fused, mut optim) = fused(FusedConfig::new(AdamW::new().betas((0.9, 1.5))));
    let mut grads = GradientsParams::new();
    grads.register(one.w.id, Tensor::<1>::ones([5], &device().clone().inner()));
    let refused = fused.try_step(&mut optim, 1e-2, one, grads).expect_err("out of range");
    assert!(refused.to_string().contains("1.5"), "{refused}");
}

#[test]
fn what_holds_for_all_groups_is_not_given_to_one() {
    let fused = adamw().init(setup()).expect("the device will do");
    let refused = fused.group(adamw().with_max_norm(1.0)).expect_err("of all groups");
    assert!(matches!(refused, Error::OfAllGroups { what: "max_norm" }), "{refused:?}");
    let one = One { w: Param::from_tensor(Tensor::ones([5], device())) };
    let mut grads = GradientsParams::new();
    grads.register(one.w.id, Tensor::<1>::ones([5], &device().clone().inner()));
    let _one = fused.step(&mut fused.clone().into(), 1e-2, one, grads);
    assert!(matches!(fused.group(adamw()), Err(Error::LateGroup)));
}
