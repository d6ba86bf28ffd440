//! Optimizers that are parts of one: what they measured is added up, and all of them decide alike.

#![allow(clippy::cast_possible_truncation, reason = "lengths of test tensors are small")]

use fallline::{
    AdamW, DynamicScale, Error, Gpu, Group, LossScaler, Optimizer, Options, Sgd, SkipReason,
    StateFormat, Step, StepReport, TensorId, TensorSpec, Whole,
};

use crate::common::{Rng, bits, gpu};

const LEN: usize = 50_000;
const PIECES: [std::ops::Range<usize>; 3] = [0..16_384, 16_384..32_768, 32_768..LEN];

fn groups(state: StateFormat) -> [Group; 2] {
    let adamw = AdamW::new().lr(1e-2);
    [Group::new("a", adamw).state(state), Group::new("b", Sgd::default()).max_norm(0.5)]
}

fn options(gpu: &Gpu) -> Options {
    let rule = DynamicScale { init_scale: 8.0, growth_interval: 2, ..DynamicScale::default() };
    let loss_scaler = Some(LossScaler::dynamic(gpu, rule).unwrap());
    Options { max_norm: Some(1.0), loss_scaler, ..Options::default() }
}

/// The large tensor, whole or a piece, and the small one of the other group.
fn build(gpu: &Gpu, piece: Option<usize>, state: StateFormat) -> Optimizer {
    let len_elems = LEN as u64;
    let large = match piece {
        None => TensorSpec::new("large", [LEN]),
        Some(piece) => {
            let first_elem = PIECES[piece].start as u64;
            let whole = Whole { number: 0, len_elems, first_elem };
            TensorSpec::new("large", [PIECES[piece].len()]).piece_of(whole)
        }
    };
    let mut tensors = vec![large];
    // One part has all of the other group.
    if piece.is_none_or(|piece| piece == 1) {
        tensors.push(TensorSpec::new("small", [77]).in_group("b"));
    }
    Optimizer::arena_with(gpu, &groups(state), &tensors, &options(gpu)).unwrap()
}

/// The gradients of a step: of wide range, and now and then not finite or too large.
fn grads(step: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng(step);
    let mut large = rng.values(LEN, 1.0);
    for (n, value) in large.iter_mut().enumerate() {
        *value *= 10f32.powi((n % 40) as i32 - 30);
    }
    match step {
        3 => large[20_000] = f32::NAN,
        5 => large[40_000] = f32::INFINITY,
        6 => large[9] = 1e35,
        _ => {}
    }
    (large, rng.values(77, 10.0))
}

fn write(optimizer: &Optimizer, range: std::ops::Range<usize>, step: u64) {
    let (large, small) = grads(step);
    optimizer.write_grad(TensorId::new(0), &large[range]).unwrap();
    if optimizer.tensors().len() > 1 {
        optimizer.write_grad(TensorId::new(1), &small).unwrap();
    }
}

fn last(optimizer: &mut Optimizer) -> StepReport {
    optimizer.wait_reports().unwrap().pop().unwrap()
}

#[test]
fn parts_that_add_up_their_sums_give_the_bits_of_one() {
    let gpu = gpu();
    for state in [StateFormat::F32, StateFormat::Int8] {
        let mut one = build(&gpu, None, state);
        let mut parts: Vec<Optimizer> =
            (0..3).map(|piece| build(&gpu, Some(piece), state)).collect();
        let mut skipped = Vec::new();
        for step in 0..9 {
            write(&one, 0..LEN, step);
            one.step(&Step::new()).unwrap();
            let expected = last(&mut one);

            let mut measured = Vec::new();
            for (part, range) in parts.iter_mut().zip(PIECES) {
                write(part, range, step);
                let mut encoder = gpu.device().create_command_encoder(&<_>::default());
                measured.push(part.encode_measure(&mut encoder, &Step::new()).unwrap());
                gpu.queue().submit([encoder.finish()]);
            }
            // As two ranks and then the third would, in any order.
            let mut sums = parts[2].read_sums().unwrap();
            sums.add(&parts[0].read_sums().unwrap()).unwrap();
            sums.add(&parts[1].read_sums().unwrap()).unwrap();
            let mut told = Vec::new();
            for (part, measured) in parts.iter_mut().zip(measured) {
                let mut encoder = gpu.device().create_command_encoder(&<_>::default());
                part.encode_update(&mut encoder, measured, &sums).unwrap();
                gpu.queue().submit([encoder.finish()]);
                let mut found = last(part);
                // Each tells of its own tensors.
                let own = (found.non_finite, found.first_non_finite);
                told.push(own);
                if own == (None, None) {
                    found.non_finite = expected.non_finite;
                    found.first_non_finite = expected.first_non_finite;
                }
                // Norms may be NaN.
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{state} {step}");
            }
            assert!(told.contains(&(expected.non_finite, expected.first_non_finite)), "{told:?}");
            skipped.extend(expected.skip_reason);
        }
        assert_eq!(skipped, [SkipReason::NonFinite; 2]);
        let whole = |read: &dyn Fn(&Optimizer) -> Vec<f32>| -> Vec<u32> {
            parts.iter().flat_map(|part| bits(&read(part))).collect()
        };
        let id = TensorId::new(0);
        let param = |optimizer: &Optimizer| optimizer.read_param(id).unwrap();
        assert!(whole(&param) == bits(&param(&one)), "{state}");
        for slot in ["exp_avg", "exp_avg_sq"] {
            let kept = |optimizer: &Optimizer| optimizer.read_state(id, slot).unwrap();
            assert!(whole(&kept) == bits(&kept(&one)), "{state} {slot}");
        }
        let small = |optimizer: &Optimizer| optimizer.read_param(TensorId::new(1)).unwrap();
        assert_eq!(bits(&small(&parts[1])), bits(&small(&one)));
    }
}

#[test]
fn one_part_alone_is_the_whole() {
    let gpu = gpu();
    let (mut plain, mut halved) =
        (build(&gpu, None, StateFormat::F32), build(&gpu, None, StateFormat::F32));
    for step in 0..3 {
        write(&plain, 0..LEN, step);
        write(&halved, 0..LEN, step);
        plain.step(&Step::new()).unwrap();
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        let measured = halved.encode_measure(&mut encoder, &Step::new()).unwrap();
        gpu.queue().submit([encoder.finish()]);
        let sums = halved.read_sums().unwrap();
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        halved.encode_update(&mut encoder, measured, &sums).unwrap();
        gpu.queue().submit([encoder.finish()]);
        assert_eq!(last(&mut plain), last(&mut halved));
    }
    let id = TensorId::new(0);
    assert_eq!(bits(&plain.read_param(id).unwrap()), bits(&halved.read_param(id).unwrap()));
}

#[test]
fn what_has_nothing_to_agree_upon_is_told_so() {
    let gpu = gpu();
    let tensors = [TensorSpec::new("t", [4])];
    let mut plain = Optimizer::arena(&gpu, &[Group::new("all", Sgd::default())], &tensors).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    assert!(matches!(
        plain.encode_measure(&mut encoder, &Step::new()),
        Err(Error::NothingToReport)
    ));
    assert!(matches!(plain.read_sums(), Err(Error::NothingToReport)));
    let mut two = build(&gpu, None, StateFormat::F32);
    let group = [Group::new("all", Sgd::default())];
    let mut one = Optimizer::arena_with(&gpu, &group, &tensors, &options(&gpu)).unwrap();
    let measured = two.encode_measure(&mut encoder, &Step::new()).unwrap();
    one.step(&Step::new()).unwrap();
    let sums = one.read_sums().unwrap();
    let error = two.encode_update(&mut encoder, measured, &sums).unwrap_err();
    assert_eq!(error.to_string(), "sums of 2 groups are needed, found those of 1");
    assert!(two.read_sums().unwrap().add(&sums).is_err());
}
