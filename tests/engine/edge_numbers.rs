//! Numbers at the ends of f32: what is switched off touches none of them, and one element does not take
//! others along.

use fallline::{
    Adam, AdamW, Error, Group, IntoRule, LossScaler, Optimizer, Options, Sgd, SkipReason,
    StateFormat, Step, TensorId, TensorSpec,
};
use fallline_reference as reference;

use crate::common::{self, FORMATS, Rng, cases, gpu, specs, step, write_grads};

const ID: TensorId = TensorId::new(0);

/// Every rule that adds an L2 penalty to the gradient, without one; and those that scale the parameter.
fn without_decay() -> Vec<common::Case> {
    cases().iter().map(|case| case.with("weight_decay", 0.0)).collect()
}

#[test]
fn an_infinite_parameter_stays_where_weight_decay_is_off() {
    let (gpu, len) = (gpu(), 5000);
    // Rules and formats in turn: of all rules each format has some, and f32 all.
    let mut formats =
        FORMATS.into_iter().map(|(format, ..)| format).chain([StateFormat::Bf16]).cycle();
    for case in without_decay() {
        for state in [StateFormat::F32].into_iter().chain(formats.next()) {
            let group = Group::new("all", case.rule.clone()).state(state);
            let mut optimizer = Optimizer::arena(&gpu, &[group], &specs(&[len])).unwrap();
            let mut rng = Rng(1);
            let (mut param, mut grad) = (rng.values(len, 1.0), rng.values(len, 0.1));
            let planted = [(3, f32::INFINITY), (700, f32::NEG_INFINITY), (4999, f32::INFINITY)];
            for (at, value) in planted {
                (param[at], grad[at]) = (value, 0.0);
            }
            let mut twin = reference::Tensor::<f32>::new(&*case.twin, param.clone());
            let exact = param.iter().map(|value| f64::from(*value)).collect();
            let mut oracle = reference::Tensor::<f64>::new(&*case.twin, exact);
            optimizer.write_param(ID, &param).unwrap();
            write_grads(&optimizer, std::slice::from_ref(&grad));
            for _ in 0..3 {
                optimizer.step(&Step::new()).unwrap();
                twin.step(&*case.twin, case.rule.lr(), &grad);
                let grad: Vec<f64> = grad.iter().map(|value| f64::from(*value)).collect();
                oracle.step(&*case.twin, case.rule.lr(), &grad);
            }
            let found = optimizer.read_param(ID).unwrap();
            for (at, value) in planted {
                let name = format!("{:?} {state} {at}", case.rule);
                assert_eq!((found[at], twin.param[at]), (value, value), "{name}");
                assert_eq!(oracle.param[at], f64::from(value), "{name}");
            }
            let finite = found.iter().filter(|value| value.is_finite()).count();
            assert_eq!(finite, len - planted.len(), "{:?} {state}", case.rule);
        }
    }
}

#[test]
fn the_largest_second_moment_keeps_nan() {
    let adam = Adam::new().amsgrad(true);
    let adamw = AdamW::new().amsgrad(true);
    for rule in [adam.into_rule(), adamw.into_rule()] {
        let group = Group::new("all", rule.clone());
        let mut optimizer = Optimizer::arena(&gpu(), &[group], &specs(&[6])).unwrap();
        for grad in [[1.0; 6], [1.0, f32::NAN, 1.0, -f32::NAN, 1.0, 1.0], [1.0; 6]] {
            write_grads(&optimizer, &[grad.to_vec()]);
            optimizer.step(&Step::new()).unwrap();
        }
        for slot in optimizer.slots(ID).unwrap().iter().map(|slot| slot.name) {
            let state = optimizer.read_state(ID, slot).unwrap();
            let nan: Vec<bool> = state.iter().map(|value| value.is_nan()).collect();
            assert_eq!(nan, [false, true, false, true, false, false], "{slot}");
        }
    }
}

fn checked() -> Options {
    Options { skip_non_finite: true, ..Options::default() }
}

#[test]
fn a_gradient_too_large_to_square_skips_the_step_and_leaves_the_loss_scale() {
    let gpu = gpu();
    let rule = fallline::DynamicScale { init_scale: 8.0, ..fallline::DynamicScale::default() };
    let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
    let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
    let groups = [Group::new("adamw", AdamW::default()), Group::new("sgd", Sgd::default())];
    let tensors = [TensorSpec::new("a", [300]), TensorSpec::new("s", [300]).in_group("sgd")];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &tensors, &options).unwrap();
    // Scaled by 8: 2^63 unscaled is 2^66 in the buffer.
    let bound = 2f32.powi(66);
    let below = bound.next_down();
    for (adamw, sgd, reason) in [
        (bound, 1.0, Some(SkipReason::TooLarge)),
        (-bound, 1.0, Some(SkipReason::TooLarge)),
        (f32::MAX, 1.0, Some(SkipReason::TooLarge)),
        (below, 1.0, None),
        // SGD squares nothing.
        (1.0, f32::MAX, None),
        (bound, f32::NAN, Some(SkipReason::NonFinite)),
    ] {
        let mut grads = [vec![1.0; 300], vec![1.0; 300]];
        (grads[0][257], grads[1][5]) = (adamw, sgd);
        write_grads(&optimizer, &grads);
        let (scale, before) = (scaler.read().unwrap().0, optimizer.read_param(ID).unwrap());
        let report = step(&mut optimizer, &Step::new());
        assert_eq!((report.skipped, report.skip_reason), (reason.is_some(), reason), "{adamw:e}");
        let backs_off = reason == Some(SkipReason::NonFinite);
        let expected = if backs_off { scale / 2.0 } else { scale };
        assert_eq!(scaler.read().unwrap().0, expected, "{adamw:e}");
        assert_eq!(optimizer.read_param(ID).unwrap() == before, reason.is_some(), "{adamw:e}");
    }
}

#[test]
fn what_clipping_makes_small_is_not_too_large() {
    let gpu = gpu();
    for (max_norm, accumulated, reason) in
        [(Some(1.0), 1, None), (None, 1, Some(SkipReason::TooLarge)), (None, 8, None)]
    {
        let options = Options { max_norm, ..checked() };
        let group = [Group::new("all", AdamW::default())];
        let mut optimizer = Optimizer::arena_with(&gpu, &group, &specs(&[100]), &options).unwrap();
        let mut grad = vec![0.0; 100];
        grad[7] = if max_norm.is_some() { 1e38 } else { 2f32.powi(65) };
        write_grads(&optimizer, &[grad]);
        let report = step(&mut optimizer, &Step::new().accumulated(accumulated));
        assert_eq!(report.skip_reason, reason, "{max_norm:?} {accumulated}");
    }
}

/// One element's square leaves f32: its own state is the largest f32, and its block's is as that of
/// tensors without it.
#[test]
fn a_finite_gradient_does_not_take_its_block_along() {
    let (gpu, len) = (gpu(), 4096);
    for (state, ..) in FORMATS {
        let group = [Group::new("all", AdamW::new().lr(1e-2)).state(state)];
        let mut optimizer = Optimizer::arena(&gpu, &group, &specs(&[len])).unwrap();
        let mut grad = Rng(2).values(len, 1.0);
        grad[300] = -1e30;
        write_grads(&optimizer, &[grad]);
        for _ in 0..3 {
            optimizer.step(&Step::new()).unwrap();
        }
        let param = optimizer.read_param(ID).unwrap();
        assert!(param.iter().all(|value| value.is_finite()), "{state}");
        for slot in ["exp_avg", "exp_avg_sq"] {
            let found = optimizer.read_state(ID, slot).unwrap();
            assert!(found.iter().all(|value| value.is_finite()), "{state} {slot}");
        }
        let largest = optimizer.read_state(ID, "exp_avg_sq").unwrap()[300];
        assert!(largest > 0.99 * f32::MAX, "{state}: {largest:e}");
    }
}

/// No bound on the gradient covers an L2 penalty of huge parameters.
#[test]
fn a_sum_beyond_f32_does_not_take_its_block_along() -> Result<(), Error> {
    for (state, ..) in FORMATS {
        for rule in [
            Sgd::new().lr(1e-30).momentum(0.9).weight_decay(10.0).into_rule(),
            Adam::new().weight_decay(10.0).into_rule(),
        ] {
            let group = [Group::new("all", rule.clone()).state(state)];
            let mut optimizer = Optimizer::arena_with(&gpu(), &group, &specs(&[4096]), &checked())?;
            let mut param = vec![1.0; 4096];
            param[9] = 3e38;
            optimizer.write_param(ID, &param)?;
            write_grads(&optimizer, &[vec![0.5; 4096]]);
            assert!(!step(&mut optimizer, &Step::new()).skipped);
            for slot in optimizer.slots(ID).unwrap().iter().map(|slot| slot.name) {
                let found = optimizer.read_state(ID, slot)?;
                assert!(found.iter().all(|value| value.is_finite()), "{rule:?} {state} {slot}");
            }
        }
    }
    Ok(())
}

/// What is not finite without checking takes its block, as documented.
#[test]
fn an_infinite_gradient_still_takes_its_block() {
    for (state, block, _) in FORMATS {
        let group = [Group::new("all", AdamW::default()).state(state)];
        let mut optimizer = Optimizer::arena(&gpu(), &group, &specs(&[4096])).unwrap();
        let mut grad = vec![1.0; 4096];
        grad[300] = f32::INFINITY;
        write_grads(&optimizer, &[grad]);
        optimizer.step(&Step::new()).unwrap();
        let found = optimizer.read_state(ID, "exp_avg_sq").unwrap();
        for (at, value) in found.iter().enumerate() {
            assert_eq!(value.is_finite(), at / block != 300 / block, "{state} {at}");
        }
    }
}
