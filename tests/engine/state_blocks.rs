//! State in blocks of eight bits and fewer: codes against an exact nearest-code computation, and awkward
//! input.

use fallline::{
    AdamW, BlockSpec, BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Options, Sgd, SlotKind,
    SlotShape, StateFormat, Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference::formats::{dynamic, e4m3, nibble};

use crate::common::{
    AWKWARD, FORMATS, InBlocks, Rng, bits, buffer, cases, gpu, in_blocks_of, round_trip, specs,
    tiny_gpu,
};

/// How near to the middle between two codes either will do, in ULP of the quotient. In WGSL a quotient
/// may itself be wrong by 2.5, and a square root by more; int8 and int4 compare with borders instead.
fn ulps(format: StateFormat) -> f64 {
    match format {
        StateFormat::Int8 | StateFormat::Int4 => 2.0,
        _ => 12.0,
    }
}

fn in_blocks(format: StateFormat, group: Group) -> Group {
    let mut group = group.state(format);
    group.min_state_elems = 0;
    group
}

/// A rule whose slots after the first step are the gradient and its square, to the bit.
fn exact_adamw(format: StateFormat) -> Group {
    in_blocks(format, Group::new("all", AdamW::new().betas((0.0, 0.0))))
}

/// The state that one step with this gradient leaves.
fn state_after(gpu: &Gpu, format: StateFormat, grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let groups = [exact_adamw(format)];
    let mut optimizer = Optimizer::arena(gpu, &groups, &specs(&[grad.len()])).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, grad).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let state = |slot| optimizer.read_state(id, slot).unwrap();
    (state("exp_avg"), state("exp_avg_sq"))
}

fn check_codes(case: InBlocks, values: &[f32], found: &[f32], unsigned: bool) {
    let (format, block_elems, rounded) = case;
    for (value, absmax, found) in in_blocks_of(block_elems, values, found) {
        if absmax == 0.0 {
            assert_eq!(found, 0.0);
            continue;
        }
        // A device may take a subnormal number for zero.
        if value.is_subnormal() && found == 0.0 {
            continue;
        }
        let expected = rounded(value, absmax, unsigned, ulps(format));
        // Two codes differ by more than a thousandth, decoding in f32 by less than a millionth.
        check_one_of(format, (value, absmax, found), &expected, 1e-6);
    }
}

/// As `check_codes`, of values that may be wrong by a millionth themselves: nearer to a middle either code
/// will do.
fn check_near(case: InBlocks, values: &[f32], found: &[f32], unsigned: bool) {
    let (format, block_elems, rounded) = case;
    for (value, absmax, found) in in_blocks_of(block_elems, values, found) {
        let expected = rounded(value, absmax, unsigned, 50.0);
        check_one_of(format, (value, absmax, found), &expected, 1e-5);
    }
}

fn check_one_of(
    format: StateFormat,
    (value, absmax, found): (f32, f32, f32),
    expected: &[f64],
    slack: f64,
) {
    let is_one = expected.iter().any(|e| (f64::from(found) - e).abs() <= slack * e.abs());
    assert!(is_one, "{format}: {value:e} by {absmax:e} became {found:e}, not {expected:?}");
}

fn squares(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value * value).collect()
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "values of f32 in f64")]
fn codes_are_the_nearest_in_f64() {
    let gpu = gpu();
    let mut rng = Rng(9);
    let numbers: Vec<f64> = e4m3::magnitudes().iter().map(|number| number / 448.0).collect();
    for absmax in [1.0f32, 0.37, 1e-12, 3e12] {
        let mut values = Vec::new();
        // Around every code and every middle of the books, of both signs.
        let books = [dynamic::book(false), nibble::map(false), numbers.clone()];
        for pair in books.iter().flat_map(|book| book.windows(2)) {
            for at in [pair[0], (pair[0] + pair[1]) / 2.0, (pair[0] + pair[1]) / -2.0] {
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
        for chunk in values.chunks(31) {
            blocks.push(absmax);
            blocks.extend_from_slice(chunk);
        }
        for case in FORMATS {
            let (first, second) = state_after(&gpu, case.0, &blocks);
            check_codes(case, &blocks, &first, false);
            check_codes(case, &squares(&blocks), &second, true);
        }
    }
}

/// Within some ULP of every middle, whatever the largest value of the block is.
#[test]
#[allow(clippy::cast_possible_truncation, reason = "values of f32 in f64")]
fn codes_beside_middles_are_the_nearest_for_any_largest_value() {
    let gpu = gpu();
    let mut rng = Rng(11);
    for (unsigned, format) in [false, true]
        .into_iter()
        .flat_map(|unsigned| [StateFormat::Int8, StateFormat::Int4].map(|f| (unsigned, f)))
    {
        let (book, case) = match format {
            StateFormat::Int8 => (dynamic::book(unsigned), FORMATS[0]),
            _ => (nibble::map(unsigned), FORMATS[1]),
        };
        let middles: Vec<f64> = book.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
        let mut values = Vec::new();
        for block in 0..400 {
            let exponent = (rng.next_u64() % 60) as i32 - 30;
            let absmax = rng.value(2f32.powi(exponent)).abs();
            for at in 0..128 {
                if at == 0 {
                    values.push(absmax);
                    continue;
                }
                let middle = middles[(block * 127 + at) % middles.len()] * f64::from(absmax);
                let ulps = (rng.next_u64() % 11) as i32 - 5;
                values.push(f32::from_bits((middle as f32).to_bits().wrapping_add_signed(ulps)));
            }
        }
        let spec = BlockSpec::new("t", values.len() as u64, format);
        let spec = if unsigned { spec.unsigned() } else { spec };
        check_codes(case, &values, &round_trip(&gpu, spec, &values), unsigned);
    }
}

/// A device whose workgroups have at most so many lanes.
fn with_lanes(max_compute_invocations_per_workgroup: u32) -> Gpu {
    let limits = wgpu::Limits { max_compute_invocations_per_workgroup, ..wgpu::Limits::defaults() };
    gpu().restrict_limits(&limits).expect("the engine works within these limits")
}

/// A step from a state that differs in every slot and element: every rule in two formats, and every format on every device.
#[test]
fn every_rule_has_a_state_in_blocks() {
    let cases: Vec<_> = cases().into_iter().filter(|case| !case.slots().is_empty()).collect();
    let gpus = [gpu(), tiny_gpu(), with_lanes(128), with_lanes(192)];
    let turns = gpus.iter().flat_map(|gpu| FORMATS.iter().map(move |format| (format, gpu)));
    assert!(2 * cases.len() >= gpus.len() * FORMATS.len());
    let twice = cases.iter().flat_map(|case| [case, case]);
    for (case, (format, gpu)) in twice.zip(turns.cycle()) {
        let group = in_blocks(format.0, Group::new("all", case.rule.clone()));
        let mut optimizer = Optimizer::arena(gpu, &[group], &specs(&AWKWARD)).unwrap();
        let wide = Group::new("all", case.rule.clone());
        let mut exact = Optimizer::arena(gpu, &[wide], &specs(&AWKWARD)).unwrap();
        let mut rng = Rng(4);
        for (index, len) in AWKWARD.into_iter().enumerate() {
            let id = TensorId::new(index);
            for (number, slot) in (0u8..).zip(optimizer.slots(id).unwrap()) {
                let len = slot.dims(&[len]).iter().product();
                let mut values = rng.values(len, 1.0 + f32::from(number));
                if !slot.signed || slot.shape != SlotShape::Param {
                    values.iter_mut().for_each(|value| *value = value.abs() / 4.0);
                }
                optimizer.write_state(id, slot.name, &values).unwrap();
                // What the codes stand for.
                let values = optimizer.read_state(id, slot.name).unwrap();
                exact.write_state(id, slot.name, &values).unwrap();
            }
            let grad = rng.values(len, 1.0);
            for optimizer in [&mut optimizer, &mut exact] {
                optimizer.write_grad(id, &grad).unwrap();
                optimizer.write_step(id, 3).unwrap();
            }
        }
        optimizer.step(&Step::new()).unwrap();
        exact.step(&Step::new()).unwrap();
        for index in 0..AWKWARD.len() {
            let id = TensorId::new(index);
            let found = optimizer.read_param(id).unwrap();
            // Codes decode with other last bits than on the host. Moments are rounded behind the
            // step, or this would differ by a hundredth.
            let close = |exact: &[f32], found: &[f32]| {
                for (a, b) in exact.iter().zip(found) {
                    assert!((a - b).abs() <= 1e-5 * a.abs() + 1e-9, "{:?}: {a} {b}", case.rule);
                }
            };
            close(&exact.read_param(id).unwrap(), &found);
            for slot in optimizer.slots(id).unwrap() {
                let values = exact.read_state(id, slot.name).unwrap();
                let found = optimizer.read_state(id, slot.name).unwrap();
                if slot.shape == SlotShape::Param && slot.kind == SlotKind::Moment {
                    check_near(*format, &values, &found, !slot.signed);
                } else if ["exp_avg_var", "z"].contains(&slot.name) {
                    // AdaBelief's variance is around a moment, and schedule-free's z moves by one.
                    close(&values, &found);
                } else {
                    assert_eq!(bits(&values), bits(&found), "{}", slot.name);
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
    let usage = wgpu::BufferUsages::STORAGE;
    let lent = buffer(&gpu, &[0.0; 9000], usage);
    let (mut end, mut tensors) = (0, Vec::new());
    for spec in specs(&lens) {
        let len = spec.shape[0] as u64;
        let (param, grad) = (end, end + len.next_multiple_of(4));
        end = grad + len.next_multiple_of(4);
        let range = |at: u64| BufferRange::new(&lent, at * 4, len);
        tensors.push(BorrowedTensor { spec, param: range(param), grad: Some(range(grad)) });
    }
    for (format, ..) in FORMATS {
        let groups = [in_blocks(format, Group::new("all", AdamW::default()))];
        let mut arena = Optimizer::arena(&gpu, &groups, &specs(&lens)).unwrap();
        let mut borrowed = Optimizer::borrowed(&gpu, &groups, &tensors).unwrap();
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
                assert_eq!(bits(&a.unwrap()), bits(&b.unwrap()), "{format}");
            }
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
    let rule = Sgd::new().lr(1.0).momentum(0.9);
    for case in FORMATS {
        let groups = [in_blocks(case.0, Group::new("all", rule.clone()))];
        let mut optimizer = Optimizer::arena(&gpu, &groups, &specs(&[grad.len()])).unwrap();
        let id = TensorId::new(0);
        optimizer.write_grad(id, &grad).unwrap();
        // Padding that a kernel of the runtime's has written to.
        let slice = optimizer.grad(id).unwrap();
        let end = slice.offset() + grad.len() as u64 * 4;
        gpu.queue().write_buffer(slice.buffer(), end, &1e38f32.to_le_bytes());
        optimizer.step(&Step::new()).unwrap();
        let found = optimizer.read_state(id, "momentum_buffer").unwrap();
        check_codes(case, &grad, &found, false);
        assert_eq!(found[..256], [0.0; 256]);
        // Beside the huge element the tiny ones are lost; companded, it is rounded up to bf16 itself.
        assert_eq!(found[510], 0.0);
        assert!((found[511] / 1e30 - 1.0).abs() < 8e-3, "{}: {:e}", case.0, found[511]);
    }
}

/// What lies exactly in the middle between two codes goes to the larger magnitude; in fp8 to the even
/// code.
#[test]
fn planted_middles_go_where_the_documentation_says() {
    let gpu = gpu();
    // With an absmax of a power of two, quotient and middle are exact.
    let planted = |format, absmax: f32, middle: f32, expected: f32| {
        let mut grad = vec![0.0; 256];
        (grad[0], grad[1], grad[2]) = (absmax, middle * absmax, -middle * absmax);
        let (found, _) = state_after(&gpu, format, &grad);
        assert_eq!((found[1], found[2]), (expected * absmax, -expected * absmax), "{format}");
    };
    for absmax in [1.0, 16.0, 0.125] {
        planted(StateFormat::Fp8, 448.0 * absmax, 17.0 / 448.0, 16.0 / 448.0);
        planted(StateFormat::Fp8, 448.0 * absmax, 19.0 / 448.0, 20.0 / 448.0);
    }
}

#[test]
fn the_largest_numbers_stay_finite() {
    let gpu = gpu();
    for (format, signed) in FORMATS.into_iter().flat_map(|(f, ..)| [(f, true), (f, false)]) {
        let spec = BlockSpec::new("t", 256, format);
        let spec = if signed { spec } else { spec.unsigned() };
        let mut values = vec![f32::MAX; 256];
        // Small beside the largest, and in a device's range of subnormals when shifted.
        values[1] = 1e-3;
        values[2] = if signed { -1e-3 } else { 0.0 };
        let found = round_trip(&gpu, spec, &values);
        assert!(found.iter().all(|value| value.is_finite()), "{format} {signed}: {}", found[0]);
        assert!(found[0] > 0.99 * f32::MAX, "{format} {signed}: {}", found[0]);
        if !signed {
            assert!(found[1] > 0.0, "{format}");
        }
        if format == StateFormat::Int8 && signed {
            assert!(found[2] < 0.0, "the sign rule");
        }
    }
}

#[test]
fn what_is_not_finite_is_not_hidden() {
    let gpu = gpu();
    for (format, block_elems, _) in FORMATS {
        for value in [f32::NAN, f32::INFINITY] {
            let mut grad = vec![1.0f32; 600];
            grad[300] = value;
            let run = |skip_non_finite| {
                let options = Options { skip_non_finite, ..Options::default() };
                let groups = [exact_adamw(format)];
                let mut optimizer =
                    Optimizer::arena_with(&gpu, &groups, &specs(&[600]), &options).unwrap();
                let id = TensorId::new(0);
                optimizer.write_grad(id, &grad).unwrap();
                optimizer.step(&Step::new()).unwrap();
                ["exp_avg", "exp_avg_sq"].map(|slot| optimizer.read_state(id, slot).unwrap())
            };
            for found in run(false) {
                for (index, moment) in found.iter().enumerate() {
                    let same = index / block_elems == 300 / block_elems;
                    let is_right = if same { !moment.is_finite() } else { *moment == 1.0 };
                    assert!(is_right, "{format}: {index} became {moment}");
                }
            }
            assert_eq!(run(true), [[0.0; 600], [0.0; 600]]);
        }
    }
}

/// bitsandbytes' own assertions about its 8-bit Adam: 50 steps, parameters and state taken from the f32
/// optimizer before each.
#[test]
fn one_step_is_as_near_to_f32_as_bitsandbytes_asks() {
    let gpu = gpu();
    let len = 1024 * 32;
    let rule = AdamW::new().lr(1e-3).weight_decay(0.0);
    let build = |group| Optimizer::arena(&gpu, &[group], &[TensorSpec::new("p", [len])]).unwrap();
    let mut wide = build(Group::new("all", rule.clone()));
    let mut narrow = build(in_blocks(StateFormat::Int8, Group::new("all", rule.clone())));
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
    let rule = AdamW::new().lr(1e-3).weight_decay(0.0);
    for (format, ..) in FORMATS {
        let groups = [in_blocks(format, Group::new("all", rule.clone()))];
        let mut optimizer = Optimizer::arena(&gpu, &groups, &specs(&[256])).unwrap();
        let id = TensorId::new(0);
        let mut grad = vec![1e-4f32; 256];
        grad[0] = 1.0;
        optimizer.write_grad(id, &grad).unwrap();
        for _ in 0..100 {
            optimizer.step(&Step::new()).unwrap();
        }
        let param = optimizer.read_param(id).unwrap();
        assert!((param[0] + 0.1).abs() < 1e-3, "{format}: {}", param[0]);
        // f32 state gives -0.1 here too; a second moment that is rounded up gives less. Where the large
        // one is in another block, moments are wrong by half a percent at most, the share of a scale's
        // last bit.
        let no_larger = |p: &f32| (-0.101..=0.0).contains(p);
        assert!(param[1..].iter().all(no_larger), "{format}: {}", param[1]);
        // In the other formats the first moment is too small beside 1.
        if [StateFormat::Int8, StateFormat::Fp8].contains(&format) {
            assert!(param[1..].iter().all(|p| *p < -1e-3), "{format}: {}", param[1]);
        }
    }
}
