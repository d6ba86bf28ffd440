use burn::{
    config::Config,
    grad_clipping::GradientClippingConfig,
    optim::{
        AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, GradientsParams,
        LambConfig, LionConfig, ModuleOptimizer, RmsPropConfig, SgdConfig,
        decay::WeightDecayConfig, momentum::MomentumConfig,
    },
};
use fallline_burn::{Error, FusedConfig};

use crate::common::{Net, batches, copied, difference, fused};

/// Twenty steps beside Burn's own optimizer of the same configuration.
fn beside(config: FusedConfig, mut burns: ModuleOptimizer, lr: f64, tolerance: f32) {
    let mut ours = Net::new(11);
    let mut theirs = copied(&ours);
    let before = ours.values();
    let (fused, mut optim) = fused(config);
    let batches = batches(3);
    for step in 0..20 {
        let batch = &batches[step % batches.len()];
        let (_, grads) = theirs.grads(batch);
        theirs = burns.step(lr, theirs, grads);
        let (_, grads) = ours.grads(batch);
        ours = fused.step(&mut optim, lr, ours, grads);
    }
    let moved = difference(&before, &theirs.values());
    let differs = difference(&ours.values(), &theirs.values());
    assert!(moved > 100.0 * tolerance, "it moves by no more than {moved}");
    assert!(differs <= tolerance, "parameters differ by {differs} of {moved}");
}

fn decay() -> Option<WeightDecayConfig> {
    Some(WeightDecayConfig::new(0.01))
}

macro_rules! beside {
    ($($name:ident: $config:expr, $lr:expr, $tolerance:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let config = $config;
                let ours = FusedConfig::try_from(config.clone()).expect("it fits");
                beside(ours, config.init(), $lr, $tolerance);
            }
        )*
    };
}

beside! {
    sgd: SgdConfig::new(), 0.5, 1e-6;
    sgd_momentum: SgdConfig::new().with_weight_decay(decay()).with_momentum(Some(MomentumConfig::new())), 0.2, 2e-6;
    sgd_nesterov: SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_dampening(0.0).with_nesterov(true))), 0.1, 2e-6;
    adam: AdamConfig::new().with_weight_decay(decay()), 1e-2, 2e-6;
    adam_amsgrad: AdamConfig::new().with_amsgrad(true), 1e-2, 2e-6;
    adamw: AdamWConfig::new(), 1e-2, 2e-6;
    adamw_cautious: AdamWConfig::new().with_weight_decay(0.1).with_cautious_weight_decay(true), 1e-2, 2e-6;
    adamw_amsgrad: AdamWConfig::new().with_amsgrad(true), 1e-2, 2e-6;
    adamw_clipped: AdamWConfig::new().with_grad_clipping(Some(GradientClippingConfig::Value(1e-5))), 1e-2, 2e-6;
    adagrad: AdaGradConfig::new().with_lr_decay(0.01).with_weight_decay(decay()), 1e-2, 2e-6;
    adafactor: AdafactorConfig::new().with_weight_decay(0.01), 1e-2, 5e-6;
    adafactor_given_rate: AdafactorConfig::new().with_relative_step(false).with_scale_parameter(false), 1e-3, 5e-6;
    adan: AdanConfig::new().with_weight_decay(0.01), 1e-2, 5e-6;
    adan_no_prox: AdanConfig::new().with_weight_decay(0.01).with_no_prox(true), 1e-2, 5e-6;
    lamb: LambConfig::new().with_weight_decay(0.01), 1e-3, 5e-6;
    lion: LionConfig::new().with_weight_decay(0.01), 1e-3, 2e-6;
    rmsprop: RmsPropConfig::new(), 1e-4, 2e-6;
    rmsprop_centered: RmsPropConfig::new().with_centered(true).with_momentum(0.0), 1e-4, 2e-6;
}

/// torch's Adafactor has floors that gradients like these would meet.
#[test]
fn adafactor_of_small_gradients() {
    let config = AdafactorConfig::new();
    let mut ours = Net::new(12);
    let mut theirs = copied(&ours);
    let before = ours.values();
    let mut burns = config.init();
    let (fused, mut optim) = fused(FusedConfig::try_from(config).expect("it fits"));
    let batch = &batches(1)[0];
    let grads = |net: &Net, step: i32| {
        // Smaller ones in each step, so that updates are not clipped.
        let loss = net.loss(batch) * 1e-5 * 0.5_f32.powi(step);
        GradientsParams::from_grads(loss.backward(), net)
    };
    for step in 0..5 {
        let of_theirs = grads(&theirs, step);
        theirs = burns.step(1e-2, theirs, of_theirs);
        let of_ours = grads(&ours, step);
        ours = fused.step(&mut optim, 1e-2, ours, of_ours);
    }
    assert!(difference(&before, &theirs.values()) > 1e-3);
    let differs = difference(&ours.values(), &theirs.values());
    assert!(differs <= 5e-6, "parameters differ by {differs}");
}

#[test]
fn what_does_not_fit_is_told() {
    let norm = Some(GradientClippingConfig::Norm(1.0));
    let refused = [
        FusedConfig::try_from(AdamWConfig::new().with_grad_clipping(norm)).err(),
        FusedConfig::try_from(LambConfig::new().with_use_trust_ratio(false)).err(),
        FusedConfig::try_from(AdafactorConfig::new().with_scale_parameter(false)).err(),
        FusedConfig::try_from(AdafactorConfig::new().with_clip_threshold(0.5)).err(),
        FusedConfig::try_from(AdafactorConfig::new().with_epsilon_1(1e-29)).err(),
        FusedConfig::try_from(
            SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_nesterov(true))),
        )
        .err(),
    ];
    let fields: Vec<&str> = refused
        .into_iter()
        .map(|error| match error {
            Some(Error::Config { field, .. }) => field,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "grad_clipping",
        "use_trust_ratio",
        "scale_parameter",
        "clip_threshold",
        "epsilon_1",
        "dampening",
    ];
    assert_eq!(fields, expected);
}

/// As a program of Burn's keeps it: a field of its own configuration, in a file that somebody edits.
#[derive(Config, Debug)]
struct Training {
    optimizer: AdamWConfig,
    epochs: usize,
}

#[test]
fn a_file_of_burns_configuration_is_taken_over_or_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("training.json");
    let norm = Some(GradientClippingConfig::Norm(0.5));
    let optimizer = AdamWConfig::new().with_beta_1(0.8).with_grad_clipping(norm);
    Training::new(optimizer, 3).save(&file).expect("a file");
    let loaded = || Training::load(&file).expect("it is one");
    let refused = FusedConfig::try_from(loaded().optimizer).expect_err("each tensor by itself");
    let message = refused.to_string();
    assert!(message.contains("AdamWConfig: grad_clipping is Norm(0.5)"), "{message}");
    assert!(message.contains("FusedConfig::with_max_norm"), "{message}");

    let edited = std::fs::read_to_string(&file).expect("a file").replace("Norm", "Value");
    std::fs::write(&file, edited).expect("a file");
    let Training { optimizer, epochs } = loaded();
    assert_eq!(epochs, 3);
    let ours = FusedConfig::try_from(optimizer.clone()).expect("it fits");
    beside(ours, optimizer.init(), 1e-2, 2e-6);
}
