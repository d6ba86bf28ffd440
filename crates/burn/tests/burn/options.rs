use burn::{
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams, SgdConfig},
    tensor::{FloatDType, Tensor},
};
use fallline_burn::{
    FusedConfig,
    fallline::{DynamicScale, Precision, Prodigy, SkipReason, StateFormat},
};

use crate::common::{Net, adamw, batches, copied, device, difference, floats, fused};

fn sgd() -> FusedConfig {
    FusedConfig::try_from(SgdConfig::new()).expect("it fits")
}

#[derive(Module, Debug)]
struct Two {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

impl Two {
    fn zeros() -> Self {
        let zeros = || Param::from_tensor(Tensor::zeros([4], device()));
        Self { a: zeros(), b: zeros() }
    }

    /// Gradients of 3 and 4 everywhere: a norm of 10.
    fn grads(&self) -> GradientsParams {
        let ones = || Tensor::<1>::ones([4], &device().clone().inner());
        let mut grads = GradientsParams::new();
        grads.register(self.a.id, ones() * 3.0);
        grads.register(self.b.id, ones() * 4.0);
        grads
    }
}

/// To a norm of all tensors together, which Burn does not do.
#[test]
fn clipping_goes_over_all_tensors() {
    let two = Two::zeros();
    let grads = two.grads();
    let (fused, mut optim) = fused(sgd().with_max_norm(1.0));
    let two = fused.step(&mut optim, 1.0, two, grads);
    assert!(difference(&floats(two.a.val()), &[-0.3; 4]) < 1e-6);
    assert!(difference(&floats(two.b.val()), &[-0.4; 4]) < 1e-6);
}

#[test]
fn sums_over_micro_batches_are_divided() {
    let two = Two::zeros();
    let grads = two.grads();
    let (fused, mut optim) = fused(sgd().with_accumulated(2));
    let two = fused.step(&mut optim, 1.0, two, grads);
    assert!(difference(&floats(two.a.val()), &[-1.5; 4]) < 1e-6);
}

/// The scale multiplies the loss on the GPU, a step whose gradients overflow is skipped, and the scale backs off.
#[test]
fn the_loss_scale_adapts_on_the_gpu() {
    let rule = DynamicScale { init_scale: 1024.0, ..DynamicScale::default() };
    let (fused, mut optim) = fused(sgd().with_loss_scale(rule));
    let mut two = Two::zeros();
    assert_eq!(floats(fused.loss_scale(device()).expect("a scale")), [1024.0]);
    let step = |two: Two, factor: f32, optim: &mut _| {
        let scale = fused.loss_scale(device()).expect("a scale");
        let loss = (two.a.val() * 3.0 + two.b.val() * 4.0).sum() * factor * scale;
        let grads = GradientsParams::from_grads(loss.backward(), &two);
        fused.step(optim, 1.0, two, grads)
    };
    two = step(two, 1.0, &mut optim);
    assert!(difference(&floats(two.a.val()), &[-3.0; 4]) < 1e-6);
    two = step(two, 1e38, &mut optim);
    assert!(difference(&floats(two.a.val()), &[-3.0; 4]) < 1e-6, "it was not skipped");
    assert_eq!(floats(fused.loss_scale(device()).expect("a scale")), [512.0]);
    two = step(two, 1.0, &mut optim);
    assert!(difference(&floats(two.b.val()), &[-8.0; 4]) < 1e-6);
    let reports = fused.wait_reports().expect("there is something to report");
    let skipped: Vec<_> = reports.iter().map(|report| report.skip_reason).collect();
    assert_eq!(skipped, [None, Some(SkipReason::NonFinite), None]);
    let name = reports[1].non_finite.and_then(|id| fused.name_of(id));
    assert_eq!(name.as_deref(), Some("a"));
}

#[test]
fn state_of_few_bits_learns() {
    for (format, bytes) in [(StateFormat::Int8, 3), (StateFormat::Int4, 2), (StateFormat::Bf16, 5)]
    {
        let mut net = Net::new(51);
        let (fused, mut optim) = fused(adamw().with_state(format));
        let batches = batches(2);
        let (mut first, mut last) = (f32::NAN, f32::NAN);
        for step in 0..60 {
            let (loss, grads) = net.grads(&batches[step % 2]);
            net = fused.step(&mut optim, 1e-2, net, grads);
            (first, last) = (if step == 0 { loss } else { first }, loss);
        }
        assert!(last < 0.8 * first, "{format}: {first} to {last}");
        let elems = 2 * 67 * 131;
        assert!(fused.state_size_bytes() < bytes * elems, "{format}: {}", fused.state_size_bytes());
    }
}

#[test]
fn averages_are_there_to_evaluate() {
    let mut net = Net::new(52);
    let (fused, mut optim) = fused(adamw().with_ema_decay(0.5));
    assert!(fused.evaluated(&net).is_err(), "no step was taken");
    let batch = &batches(1)[0];
    let mut average: Option<Vec<f32>> = None;
    for _ in 0..4 {
        let (_, grads) = net.grads(batch);
        net = fused.step(&mut optim, 1e-2, net, grads);
        let values = net.values();
        average = Some(match average {
            None => values,
            Some(average) => average.iter().zip(values).map(|(a, p)| 0.5 * a + 0.5 * p).collect(),
        });
    }
    let trained = net.values();
    let evaluated = fused.evaluated(&net).expect("it has stepped");
    assert!(difference(&evaluated.values(), &average.expect("it was made")) < 1e-6);
    assert!(difference(&evaluated.values(), &trained) > 1e-4);
    assert_eq!(net.values(), trained);
}

/// A rule of which Burn has none, and which looks at all tensors.
#[test]
fn rules_that_burn_does_not_have() {
    let mut net = Net::new(53);
    let (fused, mut optim) = fused(FusedConfig::new(Prodigy::new()));
    let batches = batches(2);
    let (mut first, mut last) = (f32::NAN, f32::NAN);
    for step in 0..200 {
        let (loss, grads) = net.grads(&batches[step % 2]);
        net = fused.step(&mut optim, 1.0, net, grads);
        (first, last) = (if step == 0 { loss } else { first }, loss);
    }
    assert!(last < first, "{first} to {last}");
}

/// Parameters of 16 bits, as they are and with a copy in f32 beside them.
#[test]
fn parameters_of_16_bits() {
    let values: Vec<f32> = (0..1001).map(|i| 1.0 + i as f32 / 1001.0).collect();
    let half = || Tensor::<1>::from_floats(values.as_slice(), device()).cast(FloatDType::F16);
    let grad = || Tensor::<1>::ones([1001], &device().clone().inner()).cast(FloatDType::F16) * 0.5;
    #[derive(Module, Debug)]
    struct Half {
        w: Param<Tensor<1>>,
    }
    let run = |config: FusedConfig| {
        let mut half = Half { w: Param::from_tensor(half().detach().require_grad()) };
        let (fused, mut optim) = fused(config);
        for _ in 0..64 {
            let mut grads = GradientsParams::new();
            grads.register(half.w.id, grad());
            // Less than half of the last bit of an f16 of 1.
            half = fused.step(&mut optim, 2e-4, half, grads);
        }
        floats(half.w.val())
    };
    let before = floats(half());
    let plain = run(sgd());
    let master = run(sgd().with_precision(Precision::Master));
    assert!(difference(&plain[500..], &before[500..]) < 1e-3, "rounding loses each step");
    let expected: Vec<f32> = before.iter().map(|value| value - 64.0 * 1e-4).collect();
    assert!(difference(&master, &expected) < 1e-3, "{:?} {:?}", &master[..3], &expected[..3]);
}

/// Burn's own clipping of each tensor still comes before.
#[test]
fn burns_clipping_comes_before() {
    use burn::grad_clipping::GradientClippingConfig;
    let clipping = GradientClippingConfig::Norm(0.001);
    let mut burns = AdamWConfig::new().with_grad_clipping(Some(clipping.clone())).init();
    let (fused, optim) = fused(FusedConfig::try_from(AdamWConfig::new()).expect("it fits"));
    let mut optim = optim.with_grad_clipping(clipping.init());
    let mut ours = Net::new(54);
    let mut theirs = copied(&ours);
    for batch in &batches(3) {
        let (_, grads) = ours.grads(batch);
        ours = fused.step(&mut optim, 1e-2, ours, grads);
        let (_, grads) = theirs.grads(batch);
        theirs = burns.step(1e-2, theirs, grads);
    }
    assert!(difference(&ours.values(), &theirs.values()) < 2e-6);
}
