use std::sync::mpsc;

use burn::{
    module::{Module, Param},
    optim::{GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::Tensor,
};
use fallline_burn::{Fused, FusedConfig};

use crate::common::{device, floats, fused, queue};

const LEN: usize = 1 << 16;

#[derive(Module, Debug)]
struct One {
    w: Param<Tensor<1>>,
}

impl One {
    fn new() -> Self {
        Self { w: Param::from_tensor(Tensor::zeros([LEN], device())) }
    }
}

fn sgd() -> (Fused, ModuleOptimizer) {
    fused(FusedConfig::try_from(SgdConfig::new()).expect("it fits"))
}

/// How many values differ from what is expected.
fn wrong(values: &[f32], expected: f32) -> usize {
    values.iter().filter(|value| (*value - expected).abs() > 1e-3).count()
}

/// A step sees gradients that Burn has yet to compute when it begins, and what Burn computes behind it sees the step.
#[test]
fn a_step_comes_behind_what_is_queued_and_before_what_follows() {
    let mut one = One::new();
    let (fused, mut optim) = sgd();
    for step in 1..=30 {
        let x = queue(LEN, 20);
        // The gradient is -x, which is -1 once the queue has run.
        let loss = (one.w.val() * x * -1.0).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &one);
        one = fused.step(&mut optim, 1.0, one, grads);
        let behind = one.w.val().inner() * 2.0 + 1.0;
        assert_eq!(wrong(&floats(behind), 2.0 * step as f32 + 1.0), 0, "step {step}");
    }
}

/// What this thread has queued and not yet run reads the parameter as it was when that was queued.
#[test]
fn lazy_operations_of_this_thread_read_the_old_value() {
    let mut one = One::new();
    let (fused, mut optim) = sgd();
    for step in 0..10 {
        let before = one.w.val().inner() * 3.0 + queue(LEN, 3).inner();
        let mut grads = GradientsParams::new();
        grads.register(one.w.id, Tensor::<1>::ones([LEN], &device().clone().inner()) * -1.0);
        // In place, so that only the order keeps the values apart.
        one = fallline_burn::step(&mut optim, 1.0, one, grads);
        assert_eq!(wrong(&floats(before), 3.0 * step as f32 + 1.0), 0, "step {step}");
    }
    assert_eq!(wrong(&floats(one.w.val()), 10.0), 0);
    drop(fused);
}

/// Views that were queued before a step, and not looked at: ahead of what the gradient is made of, between, and behind.
#[test]
fn views_of_this_thread_keep_the_old_value() {
    let mut one = One::new();
    let (fused, mut optim) = sgd();
    let view = |one: &One| one.w.val().inner().reshape([LEN / 4, 4]);
    for step in 0..10 {
        let first = view(&one);
        let grad = queue(LEN, 3).inner() * -1.0;
        let between = view(&one);
        let read = between.clone() * 3.0 + 1.0;
        // The gradient and what reads the parameter are of one making.
        let grad = grad * (one.w.val().inner() * 0.0 + 1.0);
        let behind = view(&one);
        let mut grads = GradientsParams::new();
        grads.register(one.w.id, grad);
        one = fused.step(&mut optim, 1.0, one, grads);
        assert_eq!(wrong(&floats(one.w.val()), step as f32 + 1.0), 0, "step {step}");
        for view in [first, between, behind] {
            assert_eq!(wrong(&floats(view), step as f32), 0, "step {step}");
        }
        assert_eq!(wrong(&floats(read), 3.0 * step as f32 + 1.0), 0, "step {step}");
    }
}

/// And so does what another thread has queued, also in a step in place.
#[test]
fn lazy_operations_of_another_thread_read_the_old_value() {
    old_value_on_another_thread(|_| {});
}

/// Also if Burn has launched it, and CubeCL has not submitted it.
#[test]
fn launched_operations_of_another_thread_read_the_old_value() {
    old_value_on_another_thread(launch);
}

/// Has Burn launch what is queued on this thread.
#[cfg(feature = "fusion")]
fn launch(tensor: Tensor<1>) {
    let lazy = tensor.try_into_primitive::<burn::backend::Cube>().expect("on a GPU");
    let client = lazy.client.clone();
    drop(client.resolve_tensor_float::<burn_cubecl::CubeBackend>(lazy));
}

/// Without fusion Burn launches at once.
#[cfg(not(feature = "fusion"))]
fn launch(_: Tensor<1>) {}

fn old_value_on_another_thread(queued_how: fn(Tensor<1>)) {
    let mut one = One::new();
    let (_fused, mut optim) = sgd();
    let (to, work) = mpsc::channel::<Tensor<1>>();
    let (ready, queued) = mpsc::channel::<()>();
    let (go, read) = mpsc::channel::<()>();
    let (result, results) = mpsc::channel::<Vec<f32>>();
    let other = std::thread::spawn(move || {
        for tensor in work {
            // Queued on this thread's stream, and not run.
            let lazy = tensor * 3.0 + queue(LEN, 3).inner();
            queued_how(lazy.clone());
            ready.send(()).expect("the other side waits");
            read.recv().expect("the other side tells");
            result.send(floats(lazy)).expect("the other side waits");
        }
    });
    for step in 0..10 {
        to.send(one.w.val().inner()).expect("it works");
        queued.recv().expect("it has queued");
        let mut grads = GradientsParams::new();
        grads.register(one.w.id, Tensor::<1>::ones([LEN], &device().clone().inner()) * -1.0);
        one = fallline_burn::step(&mut optim, 1.0, one, grads);
        // Run on this thread, so that it is sure that the step has run.
        assert_eq!(wrong(&floats(one.w.val()), step as f32 + 1.0), 0, "step {step}");
        go.send(()).expect("it waits");
        let values = results.recv().expect("it reads");
        assert_eq!(wrong(&values, 3.0 * step as f32 + 1.0), 0, "step {step}");
    }
    drop(to);
    other.join().expect("it ends");
}

/// A module that comes from another thread, as one that is made before its training thread starts.
#[test]
fn a_module_is_stepped_on_another_thread_than_it_was_made_on() {
    let one = One::new();
    let stepped = std::thread::spawn(move || {
        let (fused, mut optim) = sgd();
        let mut one = one;
        for _ in 0..3 {
            let loss = (one.w.val() * -2.0).sum();
            let grads = GradientsParams::from_grads(loss.backward(), &one);
            one = fused.step(&mut optim, 1.0, one, grads);
        }
        one
    });
    let one = stepped.join().expect("it steps");
    assert_eq!(wrong(&floats(one.w.val()), 6.0), 0);
}
