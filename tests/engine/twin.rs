//! The GPU against the CPU twin (same arithmetic) and the f64 oracle (what is right), for every rule
//! and switch, over awkward sizes, in the arena and in borrowed buffers.

#![allow(clippy::cast_possible_truncation, reason = "the oracle is rounded to f32 on purpose")]

use fallline::{
    BorrowedTensor, BufferRange, Group, Optimizer, Scope, Slot, SlotShape, Step, TensorSpec, wgpu,
};
use fallline_reference::{self as reference, ulp};

use crate::common::{AWKWARD, Case, Rng, TWIN_ULP, buffer, cases, gpu, read, specs};

/// Initial parameters, of magnitude 0.5 to 1, and the gradients of `steps` steps, of `scale` times that.
fn numbers(sizes: &[usize], steps: usize, scale: f32) -> (Vec<Vec<f32>>, Vec<Vec<Vec<f32>>>) {
    let mut rng = Rng(7);
    let params = sizes.iter().map(|len| rng.values(*len, 1.0)).collect();
    let mut grads = || sizes.iter().map(|len| rng.values(*len, scale)).collect();
    (params, (0..steps).map(|_| grads()).collect())
}

/// Runs the engine in its arena; gives parameters and slots of every tensor.
fn run(case: &Case, params: &[Vec<f32>], grads: &[Vec<Vec<f32>>], sizes: &[usize]) -> Optimizer {
    let mut optimizer =
        Optimizer::arena(&gpu(), &[Group::new("all", case.rule.clone())], &specs(sizes)).unwrap();
    let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
    for (id, param) in ids.iter().zip(params) {
        optimizer.write_param(*id, param).unwrap();
    }
    for step in grads {
        for (id, grad) in ids.iter().zip(step) {
            optimizer.write_grad(*id, grad).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    optimizer
}

fn assert_within(what: &str, found: &[f32], expected: &[f32], max_ulp: u32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let distance = ulp::distance(*found, *expected);
        assert!(
            distance <= max_ulp,
            "{what}[{index}]: {found:e} is {distance} ulp from {expected:e}"
        );
    }
}

/// Within torch's own tolerance for f32: `|a - b| <= 1e-5 + 1.3e-6 |b|`.
fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let bound = 1e-5 + 1.3e-6 * expected.abs();
        assert!(error <= bound, "{what}[{index}]: {found:e} against {expected:e}");
    }
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// One step from `start` with these gradients: engine, twin and oracle agree.
fn check_one_step(case: &Case, start: &Start, grads: &[Vec<f32>]) {
    let mut optimizer = run(case, &start.params, &[], &AWKWARD);
    let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
    for (id, grad) in ids.iter().zip(grads) {
        optimizer.write_grad(*id, grad).unwrap();
        optimizer.write_step(*id, start.step).unwrap();
        for (slot, values) in start.slots(case, id.index()) {
            optimizer.write_state(*id, slot.name, &values).unwrap();
        }
    }
    optimizer.step(&Step::new()).unwrap();
    let rule = &*case.twin;
    let begin = |i: usize| {
        let mut twin = reference::Tensor::<f32>::new(rule, start.params[i].clone());
        twin.step = start.step;
        for (slot, values) in start.slots(case, i) {
            twin.set(rule, slot.name, &values);
        }
        twin
    };
    let mut twins: Vec<_> = (0..ids.len()).map(begin).collect();
    let oracle = |(i, twin): (usize, &reference::Tensor<f32>)| {
        let mut oracle = reference::Tensor::<f64>::new(rule, widened(&start.params[i]));
        oracle.step = start.step;
        oracle.slots = twin.slots.iter().map(|slot| widened(slot)).collect();
        oracle.kept = twin.kept.map(f64::from);
        oracle
    };
    let mut oracles: Vec<_> = twins.iter().enumerate().map(oracle).collect();
    let wide: Vec<Vec<f64>> = grads.iter().map(|grad| widened(grad)).collect();
    step_all(rule, &mut twins, case.rule.lr(), grads);
    step_all(rule, &mut oracles, case.rule.lr(), &wide);
    for (id, (twin, oracle)) in ids.iter().zip(twins.iter().zip(&oracles)) {
        let what = format!("{:?} t{}", case.rule, id.index());
        let rounded = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();

        let found = optimizer.read_param(*id).unwrap();
        assert_within(&format!("{what} twin"), &found, &twin.param, TWIN_ULP);
        assert_within(&format!("{what} oracle"), &found, &rounded(&oracle.param), 4);
        // (What the first part of a sum has not is its rounding.)
        let parts = case.slots().into_iter().filter(|slot| !slot.name.ends_with("_rest"));
        for slot in parts.map(|slot| slot.name) {
            let found = optimizer.read_state(*id, slot).unwrap();
            let expected = twin.get(rule, slot);
            assert_within(&format!("{what} {slot}"), &found, expected, case.slot_ulp());
            let exact = rounded(oracle.get(rule, slot));
            assert_within(&format!("{what} {slot} oracle"), &found, &exact, 4);
        }
    }
}

/// A step of all tensors with one learning rate.
fn step_all<T: reference::Number>(
    rule: &dyn reference::Rule,
    tensors: &mut [reference::Tensor<T>],
    lr: f64,
    grads: &[Vec<T>],
) {
    let grads: Vec<_> = grads.iter().map(|grad| Some(grad.as_slice())).collect();
    reference::step_all(rule, tensors, &vec![lr; tensors.len()], &grads);
}

/// Where a single step begins.
struct Start {
    params: Vec<Vec<f32>>,
    /// Of a slot that may be negative; `None` for the first step, before which there is no state.
    moment: Option<Vec<Vec<f32>>>,
    step: u32,
}

impl Start {
    /// The state of a tensor: what may be negative in the gradient's direction, so that nothing cancels, what
    /// may not of some size, each slot's now above and now below the others'.
    fn slots(&self, case: &Case, tensor: usize) -> Vec<(Slot, Vec<f32>)> {
        let Some(moment) = &self.moment else { return Vec::new() };
        let elems = self.params[tensor].len();
        let slot = |(number, slot): (u64, Slot)| {
            let len: usize = slot.dims(&[elems]).iter().product();
            if slot.shape != SlotShape::Param {
                let value = match slot.name {
                    // What counts steps is whole.
                    "k" => self.step as f32,
                    // A learning rate.
                    "eta" => 0.1,
                    _ => 0.4,
                };
                return (slot, vec![value; len]);
            }
            if slot.name == "ax" {
                // An average of parameters lies near them.
                return (slot, self.params[tensor].iter().map(|param| 0.7 * param).collect());
            }
            if slot.name == "z" {
                // Schedule-free's parameter lies between others.
                return (slot, self.params[tensor].iter().map(|param| 0.9 * param).collect());
            }
            if slot.signed {
                return (slot, moment[tensor].clone());
            }
            let mut rng = Rng(1 + number + 10 * tensor as u64);
            // A step size is small beside parameters.
            let is_step = slot.name == "step_size";
            let scale = if is_step { 0.05 } else { 0.4 + 0.1 * number as f32 };
            (slot, rng.values(len, scale).iter().map(|value| value.abs()).collect())
        };
        (0u64..).zip(case.rule.slots(&TensorSpec::new("t", [elems]))).map(slot).collect()
    }
}

#[test]
fn one_step_is_within_4_ulp_of_twin_and_oracle() {
    // Well scaled: gradient and weight decay, of 0.1 times the parameter, do not cancel.
    let (params, grads) = numbers(&AWKWARD, 1, 1.0);
    let first = Start { params: params.clone(), moment: None, step: 0 };
    for case in cases() {
        check_one_step(&case, &first, &grads[0]);
    }

    // The tenth step, from a state of some size.
    for case in cases() {
        // Maximizing turns the gradient but not the moment.
        let factor = if case.twin.maximize() { -0.3 } else { 0.3 };
        let times = |grad: &Vec<f32>| grad.iter().map(|g| factor * g).collect();
        let moment = Some(grads[0].iter().map(times).collect());
        check_one_step(&case, &Start { params: params.clone(), moment, step: 9 }, &grads[0]);
    }
}

#[test]
fn three_hundred_steps_stay_within_torchs_tolerance_of_the_oracle() {
    let sizes = [1, 3, 257, 1021];
    let (params, grads) = numbers(&sizes, 300, 0.1);
    for case in cases() {
        let optimizer = run(&case, &params, &grads, &sizes);
        let rule = &*case.twin;
        let mut twins: Vec<_> =
            params.iter().map(|p| reference::Tensor::<f32>::new(rule, p.clone())).collect();
        let mut oracles: Vec<_> =
            params.iter().map(|p| reference::Tensor::<f64>::new(rule, widened(p))).collect();
        for step in &grads {
            let wide: Vec<Vec<f64>> = step.iter().map(|grad| widened(grad)).collect();
            step_all(rule, &mut twins, case.rule.lr(), step);
            step_all(rule, &mut oracles, case.rule.lr(), &wide);
        }
        for (id, spec) in optimizer.tensors() {
            let (twin, oracle) = (&twins[id.index()], &oracles[id.index()]);
            let what = format!("{:?} {}", case.rule, spec.name);
            // Where the two may jump apart, parameters are held against the twin, which rounds as the GPU does. What
            // looks at all of p0 - p remembers what f32 lost of it at first, in all that it keeps.
            let remembers = rule.scope() == reference::Scope::Optimizer;
            let by_twin = rule.jumps() || remembers;
            let expected = if by_twin { widened(&twin.param) } else { oracle.param.clone() };
            assert_close(&what, &optimizer.read_param(id).unwrap(), &expected);
            let parts = case.slots().into_iter().filter(|slot| !slot.name.ends_with("_rest"));
            for slot in parts.map(|slot| slot.name) {
                let found = optimizer.read_state(id, slot).unwrap();
                let of_twin = widened(twin.get(rule, slot));
                let expected = if remembers { &of_twin } else { oracle.get(rule, slot) };
                assert_close(&format!("{what} {slot}"), &found, expected);
            }
        }
    }
}

#[test]
fn borrowed_buffers_give_the_arenas_values() {
    let gpu = gpu();
    let steps = 3;
    let (params, grads) = numbers(&AWKWARD, steps, 0.1);
    // Parameters and gradients in alternation in one buffer, every tensor at a multiple of 16 bytes.
    let mut len = 0;
    let mut place = |elems: usize| {
        let at = len;
        len += elems.next_multiple_of(4);
        at
    };
    let places: Vec<(usize, usize)> = AWKWARD.iter().map(|n| (place(*n), place(*n))).collect();
    for case in cases() {
        let arena = run(&case, &params, &grads, &AWKWARD);
        let mut contents = vec![f32::MAX; len];
        for (param, (at, _)) in params.iter().zip(&places) {
            contents[*at..at + param.len()].copy_from_slice(param);
        }
        let lent = buffer(&gpu, &contents, wgpu::BufferUsages::STORAGE);
        let range = |at: usize, len: usize| BufferRange::new(&lent, at as u64 * 4, len as u64);
        let tensors: Vec<BorrowedTensor> = specs(&AWKWARD)
            .into_iter()
            .zip(AWKWARD)
            .zip(&places)
            .map(|((spec, n), (param, grad))| BorrowedTensor {
                spec,
                param: range(*param, n),
                grad: Some(range(*grad, n)),
            })
            .collect();
        let mut optimizer =
            Optimizer::borrowed(&gpu, &[Group::new("all", case.rule.clone())], &tensors).unwrap();
        // Steps counted; whole vec4s and ragged ends, also of what is summed; that finished, and gathered.
        let expected = match case.rule.scope() {
            Scope::Element => 3,
            Scope::Tensor => 6,
            _ => 7,
        };
        let of_blocks = |slot: &Slot| matches!(slot.shape, SlotShape::Blocks(_));
        if !case.slots().iter().any(of_blocks) {
            assert_eq!(optimizer.dispatches(), expected, "{:?}", case.rule);
        }
        let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
        for step in &grads {
            for (id, grad) in ids.iter().zip(step) {
                optimizer.write_grad(*id, grad).unwrap();
            }
            optimizer.step(&Step::new()).unwrap();
        }
        for id in ids {
            let what = format!("{:?} {id:?}", case.rule);
            let (found, expected) = (optimizer.read_param(id), arena.read_param(id));
            // Two kernels: WGSL lets each contract its arithmetic in its own way.
            assert_within(&what, &found.unwrap(), &expected.unwrap(), TWIN_ULP);
            for slot in case.slots().iter().map(|slot| slot.name) {
                let (found, expected) =
                    (optimizer.read_state(id, slot), arena.read_state(id, slot));
                assert_within(&what, &found.unwrap(), &expected.unwrap(), TWIN_ULP);
            }
        }
        // Neither a gradient nor anything between the tensors was written.
        let after = read(&gpu, &lent);
        let mut is_param = vec![false; len];
        for ((n, (param, grad)), last) in AWKWARD.iter().zip(&places).zip(&grads[steps - 1]) {
            is_param[*param..param + n].fill(true);
            contents[*grad..grad + n].copy_from_slice(last);
        }
        for at in (0..len).filter(|at| !is_param[*at]) {
            assert_eq!(after[at].to_bits(), contents[at].to_bits(), "{:?} at {at}", case.rule);
        }
    }
}

#[test]
fn bias_corrections_are_within_5e_7_for_every_t_up_to_2_to_the_24() {
    // With v = 1, beta2 = 0, eps = 0, p = 0, m = g = 1 and lr = 1 a step gives p = -1 / (1 - beta1^t);
    // with beta1 = 0 and v = 1 it gives p = -sqrt(1 - beta2^t) up to the rounding of v.
    let mut ts = vec![1u32];
    while *ts.last().unwrap() < 1 << 24 {
        let t = *ts.last().unwrap();
        ts.push((t + 1).max(t + t / 20).min(1 << 24));
    }
    let specs: Vec<_> = ts.iter().map(|t| TensorSpec::new(format!("t{t}"), [])).collect();
    for beta in [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999] {
        for first in [true, false] {
            let betas = if first { (beta, 0.0) } else { (0.0, beta) };
            let rule = fallline::AdamW::new().lr(1.0).betas(betas).eps(0.0).weight_decay(0.0);
            let mut optimizer =
                Optimizer::arena(&gpu(), &[Group::new("all", rule)], &specs).unwrap();
            let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
            for (id, t) in ids.iter().zip(&ts) {
                optimizer.write_grad(*id, &[1.0]).unwrap();
                optimizer.write_state(*id, "exp_avg", &[1.0]).unwrap();
                optimizer.write_state(*id, "exp_avg_sq", &[1.0]).unwrap();
                optimizer.write_step(*id, t - 1).unwrap();
            }
            optimizer.step(&Step::new()).unwrap();
            for (id, t) in ids.iter().zip(&ts).rev().step_by(5) {
                let found = -f64::from(optimizer.read_param(*id).unwrap()[0]);
                let exact = -(f64::from(*t) * f64::ln(beta)).exp_m1();
                let correction = if first { 1.0 / found } else { found * found };
                let error = (correction / exact - 1.0).abs();
                assert!(error < 5e-7, "beta {beta} t {t}: {correction:e} against {exact:e}");
            }
        }
    }
}
