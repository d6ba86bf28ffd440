//! Block-wise 8-bit state: codes against an exact nearest-code computation, and awkward input.

mod common;

use common::{AWKWARD, Rng, bits, buffer, cases, gpu, specs, tiny_gpu};
use fallline::{
    AdamW, BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Options, Sgd, StateFormat, Step,
    TensorId, TensorSpec, wgpu,
};
use fallline_reference::formats::dynamic;

fn int8(group: Group) -> Group {
    let mut group = group.state(StateFormat::Int8);
    group.min_state_elems = 0;
    group
}

/// A rule whose slots after the first step are the gradient and its square, to the bit.
fn exact_adamw() -> Group {
    int8(Group::new("all", AdamW { betas: (0.0, 0.0), ..AdamW::default() }))
}

/// The state that one step with this gradient leaves.
fn state_after(gpu: &Gpu, grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut optimizer = Optimizer::arena(gpu, &[exact_adamw()], &specs(&[grad.len()])).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, grad).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let state = |slot| optimizer.read_state(id, slot).unwrap();
    (state("exp_avg"), state("exp_avg_sq"))
}

#[allow(clippy::cast_possible_truncation, reason = "values of f32 in f64")]
fn check_codes(values: &[f32], found: &[f32], unsigned: bool) {
    let book = dynamic::book(unsigned);
    for (block, found) in values.chunks(256).zip(found.chunks(256)) {
        let absmax = block.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        for (value, found) in block.iter().zip(found) {
            if absmax == 0.0 {
                assert_eq!(*found, 0.0);
                continue;
            }
            // A device may take a subnormal number for zero.
            if value.is_subnormal() && *found == 0.0 {
                continue;
            }
            // In the middle, up to 2 ULP of the quotient, either code will do.
            let (code, other) = dynamic::nearest(&book, *value, absmax, 2.0);
            let is = |code: u8| *found == book[usize::from(code)] as f32 * absmax;
            let (quotient, found) = (value / absmax, found / absmax);
            assert!(
                is(code) || other.is_some_and(is),
                "{quotient:e} by {absmax:e} became {found:e}, not code {code}"
            );
        }
    }
}

fn squares(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value * value).collect()
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "values of f32 in f64")]
fn codes_are_the_nearest_in_f64() {
    let gpu = gpu();
    let mut rng = Rng(9);
    for absmax in [1.0f32, 0.37, 1e-12, 3e12] {
        let mut values = Vec::new();
        // Around every code and every middle of the signed book, of both signs.
        let book = dynamic::book(false);
        for pair in book.windows(2) {
            for at in [pair[0], (pair[0] + pair[1]) / 2.0] {
                let value = (at * f64::from(absmax)) as f32;
                let (up, down) = (value.next_up(), value.next_down());
                values.extend([value, up, down, up.next_up(), down.next_down()]);
                values.push(up.next_up().next_up());
            }
        }
        // And every magnitude in between.
        values.extend((0..20_000).map(|_| {
            let exponent = (rng.next_u64() % 90) as f32 / 10.0;
            rng.value(absmax * 10f32.powf(-exponent))
        }));
        let mut blocks = Vec::new();
        for chunk in values.chunks(255) {
            blocks.push(absmax);
            blocks.extend_from_slice(chunk);
        }
        let (first, second) = state_after(&gpu, &blocks);
        check_codes(&blocks, &first, false);
        check_codes(&squares(&blocks), &second, true);
    }
}

#[test]
fn every_rule_has_a_state_in_eight_bits() {
    for gpu in [gpu(), tiny_gpu()] {
        for case in cases().into_iter().filter(|case| !case.rule.slots().is_empty()) {
            let group = int8(Group::new("all", case.rule));
            let mut optimizer = Optimizer::arena(&gpu, &[group], &specs(&AWKWARD)).unwrap();
            let mut rng = Rng(4);
            for (index, len) in AWKWARD.into_iter().enumerate() {
                optimizer.write_grad(TensorId::new(index), &rng.values(len, 1.0)).unwrap();
            }
            optimizer.step(&Step::new()).unwrap();
            // What a full step finds in the slots is what the f32 state would be, up to a code.
            let wide = Group::new("all", case.rule);
            let mut exact = Optimizer::arena(&gpu, &[wide], &specs(&AWKWARD)).unwrap();
            for index in 0..AWKWARD.len() {
                let id = TensorId::new(index);
                exact.write_grad(id, &optimizer.read_grad(id).unwrap()).unwrap();
            }
            exact.step(&Step::new()).unwrap();
            for index in 0..AWKWARD.len() {
                let id = TensorId::new(index);
                assert_eq!(
                    bits(&optimizer.read_param(id).unwrap()),
                    bits(&exact.read_param(id).unwrap()),
                    "{:?}: parameters come from moments that are not rounded yet",
                    case.rule
                );
                for (number, slot) in case.rule.slots().iter().enumerate() {
                    let values = exact.read_state(id, slot).unwrap();
                    let found = optimizer.read_state(id, slot).unwrap();
                    check_codes(&values, &found, number > 0);
                }
            }
        }
    }
}

#[test]
fn borrowed_buffers_give_the_arenas_codes() {
    let gpu = gpu();
    let lens = [301usize, 4096, 6];
    let mut rng = Rng(6);
    let grads: Vec<Vec<f32>> = lens.iter().map(|len| rng.values(*len, 1.0)).collect();
    let mut arena = Optimizer::arena(&gpu, &[exact_adamw()], &specs(&lens)).unwrap();
    let usage = wgpu::BufferUsages::STORAGE;
    let lent = buffer(&gpu, &[0.0; 9000], usage);
    let (mut end, mut tensors) = (0, Vec::new());
    for spec in specs(&lens) {
        let len = spec.shape[0] as u64;
        let (param, grad) = (end, end + len.next_multiple_of(4));
        end = grad + len.next_multiple_of(4);
        let range = |at: u64| BufferRange::new(&lent, at * 4, len);
        tensors.push(BorrowedTensor { spec, param: range(param), grad: range(grad) });
    }
    let mut borrowed = Optimizer::borrowed(&gpu, &[exact_adamw()], &tensors).unwrap();
    for optimizer in [&mut arena, &mut borrowed] {
        for _ in 0..3 {
            for (index, grad) in grads.iter().enumerate() {
                optimizer.write_grad(TensorId::new(index), grad).unwrap();
            }
            optimizer.step(&Step::new()).unwrap();
        }
    }
    for index in 0..lens.len() {
        let id = TensorId::new(index);
        for slot in ["exp_avg", "exp_avg_sq"] {
            let (a, b) = (arena.read_state(id, slot), borrowed.read_state(id, slot));
            assert_eq!(bits(&a.unwrap()), bits(&b.unwrap()));
        }
    }
}

#[test]
fn awkward_blocks() {
    let gpu = gpu();
    // All zero; one huge element; tiny ones; the last block partial, and no multiple of four.
    let mut grad = vec![0.0f32; 256];
    grad.extend(std::iter::repeat_n(1e-30, 255));
    grad.push(1e30);
    grad.extend((0..256).map(|i| 1e-36 * (1.0 + i as f32)));
    grad.extend([1.0, -2.0, 0.5]);
    let group = int8(Group::new("all", Sgd { lr: 1.0, momentum: 0.9, ..Sgd::default() }));
    let mut optimizer = Optimizer::arena(&gpu, &[group], &specs(&[grad.len()])).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &grad).unwrap();
    // Padding that a kernel of the runtime's has written to.
    let slice = optimizer.grad(id).unwrap();
    let end = slice.offset() + grad.len() as u64 * 4;
    gpu.queue().write_buffer(slice.buffer(), end, &1e38f32.to_le_bytes());
    optimizer.step(&Step::new()).unwrap();
    let found = optimizer.read_state(id, "momentum_buffer").unwrap();
    check_codes(&grad, &found, false);
    assert_eq!(found[..256], [0.0; 256]);
    assert_eq!((found[256], found[511]), (0.0, 1e30));
    assert_eq!(found[769], -0.992_968_75 * 2.0);
}

#[test]
fn what_is_not_finite_is_not_hidden() {
    let gpu = gpu();
    for value in [f32::NAN, f32::INFINITY] {
        let mut grad = vec![1.0f32; 600];
        grad[300] = value;
        let run = |skip_non_finite| {
            let options = Options { skip_non_finite, ..Options::default() };
            let groups = [exact_adamw()];
            let mut optimizer =
                Optimizer::arena_with(&gpu, &groups, &specs(&[600]), &options).unwrap();
            let id = TensorId::new(0);
            optimizer.write_grad(id, &grad).unwrap();
            optimizer.step(&Step::new()).unwrap();
            optimizer.read_state(id, "exp_avg").unwrap()
        };
        let found = run(false);
        assert!(found[256..512].iter().all(|m| !m.is_finite()), "the block of the element");
        assert!(found[..256].iter().chain(&found[512..]).all(|m| *m == 1.0), "and no other");
        assert_eq!(run(true), [0.0; 600]);
    }
}

/// bitsandbytes' own assertions about its 8-bit Adam: 50 steps, parameters and state taken from the f32
/// optimizer before each.
#[test]
fn one_step_is_as_near_to_f32_as_bitsandbytes_asks() {
    let gpu = gpu();
    let len = 1024 * 32;
    let rule = AdamW { lr: 1e-3, weight_decay: 0.0, ..AdamW::default() };
    let build = |group| Optimizer::arena(&gpu, &[group], &[TensorSpec::new("p", [len])]).unwrap();
    let mut wide = build(Group::new("all", rule));
    let mut narrow = build(int8(Group::new("all", rule)));
    let id = TensorId::new(0);
    let mut rng = Rng(15);
    wide.write_param(id, &rng.values(len, 0.1)).unwrap();
    let (mut errors, mut relative) = (Vec::new(), Vec::new());
    for step in 0..50 {
        narrow.write_param(id, &wide.read_param(id).unwrap()).unwrap();
        for slot in ["exp_avg", "exp_avg_sq"] {
            narrow.write_state(id, slot, &wide.read_state(id, slot).unwrap()).unwrap();
        }
        narrow.write_step(id, step).unwrap();
        let grad = rng.values(len, 0.01);
        for optimizer in [&mut wide, &mut narrow] {
            optimizer.write_grad(id, &grad).unwrap();
            optimizer.step(&Step::new()).unwrap();
        }
        let (exact, found) = (wide.read_param(id).unwrap(), narrow.read_param(id).unwrap());
        for (a, b) in exact.iter().zip(&found) {
            let error = f64::from((a - b).abs());
            errors.push(error);
            relative.push(error / f64::from(a.abs() + 1e-9));
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&errors) < 6e-5, "{:e}", mean(&errors));
    assert!(mean(&relative) < 6e-4, "{:e}", mean(&relative));
}

/// A gradient of 1e-4 beside one of 1: its square is too small for the block's code book. Rounded to 0,
/// the update would be m / eps, a thousand times too large.
#[test]
fn a_small_gradient_beside_a_large_one_makes_no_large_step() {
    let gpu = gpu();
    let rule = AdamW { lr: 1e-3, weight_decay: 0.0, ..AdamW::default() };
    let groups = [int8(Group::new("all", rule))];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &specs(&[256])).unwrap();
    let id = TensorId::new(0);
    let mut grad = vec![1e-4f32; 256];
    grad[0] = 1.0;
    optimizer.write_grad(id, &grad).unwrap();
    for _ in 0..100 {
        optimizer.step(&Step::new()).unwrap();
    }
    let param = optimizer.read_param(id).unwrap();
    assert!((param[0] + 0.1).abs() < 1e-3, "{}", param[0]);
    // f32 state gives -0.1 here too; a second moment that is rounded up gives less, never more.
    assert!(param[1..].iter().all(|p| (-0.1..0.0).contains(p)), "{}", param[1]);
}
