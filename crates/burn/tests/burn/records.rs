use burn::{
    optim::{
        AdaGradConfig, AdafactorConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig,
        ModuleOptimizer, RmsPropConfig, SgdConfig, momentum::MomentumConfig,
    },
    tensor::{Bytes, Tensor},
};
use fallline_burn::{
    Error, Fused, FusedConfig,
    fallline::{AdamW, DynamicScale, Lookahead, StateFormat},
};

use crate::common::{Net, adamw, batches, bits, copied, difference, fused, setup};

type Batches = Vec<(Tensor<2>, Tensor<2>)>;

/// Steps of a fused optimizer, with the losses.
fn steps(
    fused: &Fused,
    optim: &mut ModuleOptimizer,
    mut net: Net,
    batches: &Batches,
    lr: f64,
) -> (Net, Vec<f32>) {
    let mut losses = Vec::new();
    for batch in batches {
        let (loss, grads) = net.grads(batch);
        losses.push(loss);
        net = fused.step(optim, lr, net, grads);
    }
    (net, losses)
}

fn burn_steps(
    optim: &mut ModuleOptimizer,
    mut net: Net,
    batches: &Batches,
    lr: f64,
) -> (Net, Vec<f32>) {
    let mut losses = Vec::new();
    for batch in batches {
        let (loss, grads) = net.grads(batch);
        losses.push(loss);
        net = optim.step(lr, net, grads);
    }
    (net, losses)
}

/// Burn's optimizer goes on from our record, and we from Burn's.
fn there_and_back(
    config: impl Fn() -> FusedConfig,
    burns: ModuleOptimizer,
    lr: f64,
    tolerance: f32,
) {
    let batches = batches(4);
    let mut theirs = burns.clone();
    let (net, _) = burn_steps(&mut theirs, Net::new(31), &batches, lr);
    let ours = config().init(setup()).expect("the device will do");
    let mut optim = ModuleOptimizer::from(ours.clone()).load_record(theirs.to_record());
    let (a, b) = (copied(&net), copied(&net));
    let (a, their_losses) = burn_steps(&mut theirs, a, &batches, lr);
    let (b, our_losses) = steps(&ours, &mut optim, b, &batches, lr);
    let differs = difference(&their_losses, &our_losses);
    assert!(differs <= 1e-7, "losses differ by {differs} from Burn's record on");
    let differs = difference(&a.values(), &b.values());
    assert!(differs <= tolerance, "parameters differ by {differs} from Burn's record on");

    let bytes = optim.into_bytes().expect("a record");
    let mut theirs = burns.from_bytes(bytes).expect("a record of Burn's");
    let (a, b) = (copied(&b), copied(&b));
    let (a, their_losses) = burn_steps(&mut theirs, a, &batches, lr);
    let (b, our_losses) = steps(&ours, &mut optim, b, &batches, lr);
    let differs = difference(&their_losses, &our_losses);
    assert!(differs <= 1e-7, "losses differ by {differs} from our record on");
    let differs = difference(&a.values(), &b.values());
    assert!(differs <= tolerance, "parameters differ by {differs} from our record on");
}

macro_rules! there_and_back {
    ($($name:ident: $config:expr, $lr:expr, $tolerance:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let config = $config;
                let ours = || FusedConfig::try_from(config.clone()).expect("it fits");
                there_and_back(ours, config.init(), $lr, $tolerance);
            }
        )*
    };
}

there_and_back! {
    adamw_there_and_back: AdamWConfig::new(), 1e-3, 1e-6;
    adamw_amsgrad_there_and_back: AdamWConfig::new().with_amsgrad(true), 1e-3, 1e-6;
    sgd_there_and_back: SgdConfig::new().with_momentum(Some(MomentumConfig::new())), 0.1, 1e-6;
    sgd_plain_there_and_back: SgdConfig::new(), 0.1, 1e-6;
    adagrad_there_and_back: AdaGradConfig::new().with_lr_decay(0.1), 1e-3, 1e-6;
    adafactor_there_and_back: AdafactorConfig::new(), 1e-3, 1e-6;
    adan_there_and_back: AdanConfig::new(), 1e-3, 1e-6;
    lamb_there_and_back: LambConfig::new(), 1e-4, 1e-6;
    lion_there_and_back: LionConfig::new(), 1e-4, 1e-6;
    rmsprop_there_and_back: RmsPropConfig::new(), 1e-5, 1e-6;
    rmsprop_centered_there_and_back: RmsPropConfig::new().with_centered(true), 1e-5, 1e-6;
}

/// A run that continues from our record is the run that was never interrupted.
fn bit_for_bit(config: impl Fn() -> FusedConfig) {
    let batches = batches(4);
    let (ours, mut optim) = fused(config());
    let (net, _) = steps(&ours, &mut optim, Net::new(32), &batches, 1e-3);
    let bytes: Bytes = optim.into_bytes().expect("a record");
    let (again, fresh) = fused(config());
    let mut resumed = fresh.from_bytes(bytes).expect("a record");
    let twin = copied(&net);
    let (net, one) = steps(&ours, &mut optim, net, &batches, 1e-3);
    let (twin, other) = steps(&again, &mut resumed, twin, &batches, 1e-3);
    assert_eq!(bits(&one), bits(&other));
    assert_eq!(bits(&net.values()), bits(&twin.values()));
    // And a record of what was resumed is the same again.
    assert_eq!(ours.state_size_bytes(), again.state_size_bytes());
}

#[test]
fn f32_state_bit_for_bit() {
    bit_for_bit(adamw);
}

#[test]
fn state_of_8_bits_bit_for_bit() {
    bit_for_bit(|| adamw().with_state(StateFormat::Int8));
}

#[test]
fn state_of_4_bits_bit_for_bit() {
    bit_for_bit(|| adamw().with_state(StateFormat::Int4));
}

#[test]
fn a_clipped_and_scaled_run_bit_for_bit() {
    bit_for_bit(|| adamw().with_max_norm(0.01).with_loss_scale(DynamicScale::default()));
}

#[test]
fn averages_and_slow_weights_bit_for_bit() {
    let lookahead =
        || FusedConfig::new(AdamW::new()).with_group(|g| g.lookahead(Lookahead::default()));
    bit_for_bit(move || lookahead().with_ema_decay(0.9));
}

/// Low-bit state is smaller, and lies in the record as it lies on the GPU.
#[test]
fn a_record_of_8_bit_state_is_small() {
    let batches = batches(1);
    let size = |config: FusedConfig| {
        let (ours, mut optim) = fused(config);
        let _net = steps(&ours, &mut optim, Net::new(33), &batches, 1e-3);
        optim.into_bytes().expect("a record").len()
    };
    let (f32, int8) = (size(adamw()), size(adamw().with_state(StateFormat::Int8)));
    assert!(4 * int8 < 2 * f32, "{int8} bytes against {f32}");
}

#[test]
fn a_record_of_another_rule_is_refused() {
    let batches = batches(1);
    let mut burns = AdamWConfig::new().init();
    let (net, _) = burn_steps(&mut burns, Net::new(34), &batches, 1e-3);
    let before = net.values();
    let lion = FusedConfig::try_from(LionConfig::new()).expect("it fits");
    let lion = lion.init(setup()).expect("the device will do");
    let mut optim = ModuleOptimizer::from(lion.clone()).load_record(burns.to_record());
    let (_, grads) = net.grads(&batches[0]);
    let refused = lion.try_step(&mut optim, 1e-3, net, grads).expect_err("it is AdamW's");
    let Error::Record { parameter, rule, reason } = &refused.error else {
        panic!("{refused:?}");
    };
    assert_eq!((parameter.as_str(), rule.as_str()), ("scale", "lion"));
    assert!(reason.contains("exp_avg"), "{reason}");
    assert_eq!(refused.module.values(), before);
}

#[test]
fn a_record_in_another_format_is_refused() {
    let batches = batches(1);
    let (ours, mut optim) = fused(adamw().with_state(StateFormat::Int8));
    let (net, _) = steps(&ours, &mut optim, Net::new(35), &batches, 1e-3);
    let (again, fresh) = fused(adamw().with_state(StateFormat::Int4));
    let mut resumed = fresh.load_record(optim.to_record());
    let (_, grads) = net.grads(&batches[0]);
    let refused = again.try_step(&mut resumed, 1e-3, net, grads).expect_err("it is of 8 bits");
    assert!(matches!(refused.error, Error::Record { .. }), "{refused:?}");
    assert!(refused.to_string().contains("int8"), "{refused}");
}
