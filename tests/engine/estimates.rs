//! Estimates of the Hessian's diagonal, handed in between steps.
#![allow(clippy::cast_possible_truncation, reason = "the oracle is rounded to f32 on purpose")]

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Error, Estimate, Group, LossScaler, Optimizer,
    Options, OutOfRange, Rule, Slot, Sophia, Source, StateFormat, Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference::{self as reference, ulp};

use crate::common::{self, AWKWARD, Case, Rng, bits, buffer, cases, gpu, specs, write_grads};

/// Every rule that takes estimates.
fn estimating() -> Vec<Case> {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.rule.takes_estimates()).collect();
    assert!(!cases.is_empty());
    cases
}

fn arena(group: Group, sizes: &[usize]) -> Optimizer {
    let optimizer = Optimizer::arena(&gpu(), &[group], &specs(sizes)).unwrap();
    for (id, spec) in optimizer.tensors() {
        let values = Rng(id.index() as u64).values(spec.shape[0], 1.0);
        optimizer.write_param(id, &values).unwrap();
    }
    optimizer
}

/// Values of every tensor.
fn numbers(sizes: &[usize], seed: u64, scale: f32) -> Vec<Vec<f32>> {
    let mut rng = Rng(seed);
    sizes.iter().map(|len| rng.values(*len, scale)).collect()
}

/// Parameters and state, as bits.
fn contents(optimizer: &Optimizer) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for (id, _) in optimizer.tensors() {
        all.push(bits(&optimizer.read_param(id).unwrap()));
        for slot in optimizer.slots(id).unwrap() {
            all.push(bits(&optimizer.read_state(id, slot.name).unwrap()));
        }
    }
    all
}

/// Estimates before the first, third, fifth step, of which one is squared, and one has none for a tensor.
#[test]
fn estimates_between_steps_are_those_of_twin_and_oracle() {
    for case in estimating() {
        let rule = &*case.twin;
        let mut optimizer = arena(Group::new("all", case.rule.clone()), &AWKWARD);
        let begin = |len: &usize, index: usize| {
            reference::Tensor::<f32>::new(rule, Rng(index as u64).values(*len, 1.0))
        };
        let mut twins: Vec<_> = AWKWARD.iter().zip(0..).map(|(len, i)| begin(len, i)).collect();
        let widened = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
        let mut oracles: Vec<_> = twins
            .iter()
            .map(|twin| reference::Tensor::<f64>::new(rule, widened(&twin.param)))
            .collect();
        let lrs = vec![case.rule.lr(); AWKWARD.len()];
        let left_out = [TensorId::new(12)];
        for step in 0..6u64 {
            if step % 2 == 0 {
                let values = numbers(&AWKWARD, 100 + step, 2.0);
                write_grads(&optimizer, &values);
                let (estimate, factor) = match step {
                    2 => (Estimate::squared(3.0), 3.0f32),
                    _ => (Estimate::diagonal().factor(0.75), 0.75),
                };
                let without: &[TensorId] = if step == 4 { &left_out } else { &[] };
                optimizer.estimate(&estimate.without(without)).unwrap();
                for (index, values) in values.iter().enumerate() {
                    if without.contains(&TensorId::new(index)) {
                        continue;
                    }
                    let seen = |v: &f32| factor * if step == 2 { v * v } else { *v };
                    twins[index].estimate(rule, &values.iter().map(seen).collect::<Vec<_>>());
                    let seen = |v: &f64| f64::from(factor) * if step == 2 { v * v } else { *v };
                    let values: Vec<f64> = widened(values).iter().map(seen).collect();
                    oracles[index].estimate(rule, &values);
                }
            }
            let grads = numbers(&AWKWARD, 200 + step, 1.0);
            write_grads(&optimizer, &grads);
            optimizer.step(&Step::new()).unwrap();
            let of_twins: Vec<_> = grads.iter().map(|grad| Some(grad.as_slice())).collect();
            reference::step_all(rule, &mut twins, &lrs, &of_twins);
            let grads: Vec<_> = grads.iter().map(|grad| widened(grad)).collect();
            let of_oracles: Vec<_> = grads.iter().map(|grad| Some(grad.as_slice())).collect();
            reference::step_all(rule, &mut oracles, &lrs, &of_oracles);
        }
        assert_eq!(optimizer.read_steps().unwrap(), [6; AWKWARD.len()]);
        for (id, _) in optimizer.tensors() {
            let (twin, oracle) = (&twins[id.index()], &oracles[id.index()]);
            let what = format!("{:?} t{}", case.rule, id.index());
            let param = optimizer.read_param(id).unwrap();
            let mut all = vec![("param", param, &twin.param[..], &oracle.param[..])];
            for slot in case.slots().iter().map(|slot| slot.name) {
                let found = optimizer.read_state(id, slot).unwrap();
                all.push((slot, found, twin.get(rule, slot), oracle.get(rule, slot)));
            }
            for (name, found, twin, oracle) in all {
                for (index, value) in found.iter().enumerate() {
                    let of_twin = ulp::distance(*value, twin[index]);
                    // What a moment had may cancel.
                    let error = (f64::from(*value) - oracle[index]).abs();
                    assert!(
                        of_twin <= 4 || error < 2e-7,
                        "{what} {name}[{index}]: {value:e}, {:e} of the twin, {:e}",
                        twin[index],
                        oracle[index]
                    );
                    assert!(error < 1e-6 + 1.3e-6 * oracle[index].abs(), "{what} {name}[{index}]");
                }
            }
        }
    }
}

#[test]
fn nothing_but_the_hessian_changes_in_any_format() {
    for &format in StateFormat::ALL {
        for len in [300, 4097] {
            let rule = Sophia::new().lr(1e-2);
            let group = Group::new("all", rule).state(format).min_state_elems(0);
            let mut optimizer = arena(group, &[len, 70]);
            for step in 0..3 {
                write_grads(&optimizer, &numbers(&[len, 70], step, 1.0));
                optimizer.step(&Step::new()).unwrap();
            }
            let before = contents(&optimizer);
            let values = numbers(&[len, 70], 9, 1.0);
            write_grads(&optimizer, &values);
            let none = [TensorId::new(1)];
            optimizer.estimate(&Estimate::diagonal().without(&none)).unwrap();
            let after = contents(&optimizer);
            // Of each tensor the parameter, exp_avg, hessian.
            for (slot, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(before == after, slot != 2, "{format} {len} {slot}");
            }
            let found = optimizer.read_state(TensorId::new(0), "hessian").unwrap();
            let largest = 0.01f32;
            for (found, value) in found.iter().zip(&values[0]) {
                // Half the widest gap of 4 bits.
                assert!((found - 0.01 * value).abs() < 0.15 * largest, "{format}: {found} {value}");
            }
            assert_eq!(optimizer.read_steps().unwrap(), [3, 3]);
            // Not the way to the buffer, but the format is what rounds.
            if format == StateFormat::F32 {
                let exact: Vec<f32> = values[0].iter().map(|v| 0.01f64 as f32 * v).collect();
                assert!(found.iter().zip(&exact).all(|(a, b)| ulp::distance(*a, *b) <= 1));
            }
        }
    }
}

#[test]
fn estimates_in_buffers_of_the_callers_give_the_arenas_bits() {
    let gpu = gpu();
    for dtype in [Dtype::F32, Dtype::Bf16] {
        for tiny in [false, true] {
            let gpu = if tiny { common::tiny_gpu() } else { gpu.clone() };
            let usage = wgpu::BufferUsages::STORAGE;
            let with_dtype = || specs(&AWKWARD).into_iter().map(|spec| spec.grad_dtype(dtype));
            let rule = || [Group::new("all", Sophia::new().lr(1e-2))];
            let arena = Optimizer::arena(&gpu, &rule(), &with_dtype().collect::<Vec<_>>());
            let mut arena = arena.unwrap();
            // Each tensor's values from a multiple of four elements on, gradients in front of estimates.
            let mut words = 0;
            let mut place = |len: usize| {
                let at = words;
                words += len.next_multiple_of(8);
                at as u64 * 4
            };
            let places: Vec<[u64; 3]> =
                AWKWARD.iter().map(|len| [place(*len), place(*len), place(*len)]).collect();
            let params = buffer(&gpu, &vec![0.0; words], usage);
            let others = buffer(&gpu, &vec![0.0; words], usage);
            let range = |buffer: &wgpu::Buffer, at: u64, index: usize| {
                BufferRange::new(buffer, at, AWKWARD[index] as u64)
            };
            let tensors: Vec<BorrowedTensor> = with_dtype()
                .enumerate()
                .map(|(index, spec)| BorrowedTensor {
                    spec,
                    param: range(&params, places[index][0], index),
                    grad: Some(range(&params, places[index][1], index)),
                })
                .collect();
            let mut borrowed = Optimizer::borrowed(&gpu, &rule(), &tensors).unwrap();
            let estimates: Vec<Option<BufferRange>> = (0..AWKWARD.len())
                .map(|index| (index != 11).then(|| range(&others, places[index][2], index)))
                .collect();
            for step in 0..4 {
                let values = numbers(&AWKWARD, 50 + step, 1.0);
                write_grads(&arena, &values);
                let without = [TensorId::new(11)];
                arena.estimate(&Estimate::squared(2.0).without(&without)).unwrap();
                for (value, place) in values.iter().zip(&places) {
                    let mut bytes = dtype.encode(value);
                    bytes.resize(bytes.len().next_multiple_of(4), 0);
                    gpu.queue().write_buffer(&others, place[2], &bytes);
                }
                let grads = numbers(&AWKWARD, 80 + step, 1.0);
                write_grads(&borrowed, &grads);
                common::submit(&gpu, |encoder| {
                    let estimate = Estimate::squared(2.0);
                    borrowed.encode_estimate_at(encoder, &estimate, &estimates).unwrap();
                    // The gradients are where they were.
                    borrowed.encode_step(encoder, &Step::new()).unwrap();
                });
                write_grads(&arena, &grads);
                arena.step(&Step::new()).unwrap();
            }
            assert_eq!(contents(&arena), contents(&borrowed), "{dtype} tiny: {tiny}");
        }
    }
}

#[test]
fn what_is_recorded_counts_as_a_step_until_it_is_submitted_or_dropped() {
    let mut optimizer = arena(Group::new("all", Sophia::new()), &AWKWARD);
    let gpu = optimizer.gpu().clone();
    let device = gpu.device();
    let mut encoders = Vec::new();
    for number in 0..64 {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if number % 2 == 0 {
            optimizer.encode_estimate(&mut encoder, &Estimate::diagonal()).unwrap();
        } else {
            optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
        }
        encoders.push(encoder);
    }
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let full = optimizer.encode_estimate(&mut encoder, &Estimate::diagonal()).unwrap_err();
    assert!(matches!(full, Error::TooManyUnsubmittedSteps { limit: 64 }), "{full}");
    // One that is dropped has not happened, and gives its place back.
    drop(encoders);
    optimizer.encode_estimate(&mut encoder, &Estimate::diagonal()).unwrap();
    assert_eq!(optimizer.read_steps().unwrap(), [0; AWKWARD.len()]);
}

#[test]
fn what_is_not_finite_is_left_out() {
    for format in [StateFormat::F32, StateFormat::Int8] {
        // (h is 0.01 at first, a hundredth of what it tends to.)
        let group = Group::new("all", Sophia::new()).state(format).min_state_elems(0);
        let mut optimizer = arena(group, &[256]);
        let id = TensorId::new(0);
        let one = |optimizer: &mut Optimizer, value: f32, estimate: &Estimate<'_>| {
            let mut values = vec![1.0; 256];
            values[7] = value;
            optimizer.write_grad(id, &values).unwrap();
            optimizer.estimate(estimate).unwrap();
            optimizer.read_state(id, "hessian").unwrap()
        };
        let first = one(&mut optimizer, 1.0, &Estimate::diagonal());
        assert!((first[7] - 0.01).abs() < 1e-6, "{}", first[7]);
        let (diagonal, squared) = (Estimate::diagonal(), Estimate::squared(1.0));
        for (value, estimate) in [
            (f32::NAN, &diagonal),
            (f32::INFINITY, &diagonal),
            (f32::NEG_INFINITY, &squared),
            // Finite, with a square that is not.
            (1e30, &squared),
        ] {
            let before = optimizer.read_state(id, "hessian").unwrap();
            let after = one(&mut optimizer, value, estimate);
            assert!((after[7] - before[7]).abs() < 0.1 * before[7], "{format} {value}: {after:?}");
            assert!(
                after[8] > before[8] && after.iter().all(|h| h.is_finite()),
                "{format} {value}"
            );
        }
    }
}

#[test]
fn a_step_that_is_skipped_skips_no_estimate() {
    let gpu = gpu();
    let scaler = LossScaler::fixed(&gpu, 1024.0).unwrap();
    let options = Options { loss_scaler: Some(scaler), skip_non_finite: true, ..<_>::default() };
    let groups = [Group::new("all", Sophia::new()).max_norm(0.5)];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &specs(&[5]), &options).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &[f32::INFINITY; 5]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    optimizer.write_grad(id, &[2.0; 5]).unwrap();
    optimizer.estimate(&Estimate::diagonal()).unwrap();
    // Neither the scale nor the norm plays a part.
    let expected = [(1.0f64 - 0.99) as f32 * 2.0; 5];
    assert_eq!(optimizer.read_state(id, "hessian").unwrap(), expected);
    assert_eq!(optimizer.read_steps().unwrap(), [0]);
}

#[test]
fn what_cannot_be_estimated_is_named() {
    let gpu = gpu();
    let mut none = arena(Group::new("all", AdamW::new()), &[4]);
    assert_eq!(
        none.estimate(&Estimate::diagonal()).unwrap_err().to_string(),
        "no group's rule takes estimates of the Hessian's diagonal (rules: adamw)"
    );
    // With another that does, the rule that takes none is left alone.
    let groups = [Group::new("plain", AdamW::new()), Group::new("all", Sophia::new())];
    let tensors = specs(&[4, 4]);
    let tensors = [tensors[0].clone().in_group("plain"), tensors[1].clone().in_group("all")];
    let mut both = Optimizer::arena(&gpu, &groups, &tensors).unwrap();
    write_grads(&both, &[vec![1.0; 4], vec![1.0; 4]]);
    both.step(&Step::new()).unwrap();
    let before = contents(&both);
    both.estimate(&Estimate::diagonal()).unwrap();
    let changed: Vec<bool> =
        before.iter().zip(&contents(&both)).map(|(before, after)| before != after).collect();
    assert_eq!(changed, [false, false, false, false, false, true]);
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = both.estimate(&Estimate::squared(factor)).unwrap_err();
        let expected =
            format!("the factor of an estimate must be finite and >= 2^-126, found {factor}");
        assert_eq!(error.to_string(), expected);
    }
    let beyond = [TensorId::new(2)];
    let error = both.estimate(&Estimate::diagonal().without(&beyond)).unwrap_err();
    assert!(matches!(error, Error::UnknownTensor { index: 2, len: 2 }), "{error}");
    common::submit(&gpu, |encoder| {
        let estimate = Estimate::diagonal();
        let error = both.encode_estimate_at(encoder, &estimate, &[None, None]).unwrap_err();
        assert!(matches!(error, Error::NotBorrowed), "{error}");
    });
    assert_eq!(contents(&both).len(), 6);
}

/// A rule of a caller's that adds up estimates.
#[derive(Debug)]
struct Sum {
    text: &'static str,
    estimated: &'static [&'static str],
}

const SUM: &str = "
struct Hyper { times: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
struct StepHyper { padding0: vec4<f32>, padding1: vec4<f32>, }
struct Scalars { padding0: vec4<f32>, }
struct State { sum: vec4<f32>, }
fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars { return Scalars(); }
fn propose(param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> Proposal {
    return Proposal(state.sum, state);
}
fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return direction;
}
fn estimate(value: vec4<f32>, state: State, hyper: Hyper) -> State {
    return State(state.sum + hyper.times * value);
}
fn state_of(slots: Slots) -> State { return State(slots.slot0); }
fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.sum;
    return slots;
}
";

impl Rule for Sum {
    fn source(&self) -> Source {
        Source { path: "sum_of_estimates", text: self.text }
    }
    fn lr(&self) -> f64 {
        1.0
    }
    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }
    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("sum").exact()]
    }
    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("times", 2.0)]
    }
    fn estimated(&self) -> &'static [&'static str] {
        self.estimated
    }
}

#[test]
fn a_rule_of_the_callers_takes_estimates() {
    let estimated: &[&str] = &["sum"];
    let mut optimizer = arena(Group::new("all", Sum { text: SUM, estimated }), &[5]);
    let id = TensorId::new(0);
    for value in [1.0, 3.0] {
        optimizer.write_grad(id, &[value; 5]).unwrap();
        optimizer.estimate(&Estimate::diagonal()).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_param(id).unwrap(), [8.0; 5]);

    let build = |text: String, estimated| {
        let groups = [Group::new("all", Sum { text: text.leak(), estimated })];
        Optimizer::arena(&gpu(), &groups, &specs(&[5])).unwrap_err().to_string()
    };
    let without = build(SUM.replace("fn estimate(", "fn estimated_otherwise("), estimated);
    assert!(without.contains("sum_of_estimates") && without.contains("`estimate`"), "{without}");
    let wrong =
        build(SUM.replace("state.sum + hyper.times", "state.total + hyper.times"), estimated);
    let other = build(SUM.into(), &["total"]);
    assert!(other.ends_with("what an estimate changes must be sum; found total"), "{other}");
    assert!(wrong.contains("line 14") && wrong.contains("total"), "{wrong}");
}
