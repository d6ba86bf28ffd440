//! Parameters and gradients in 16 bits through the whole engine, in the arena and in borrowed buffers.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, Options, Precision, Sgd,
    Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference::{
    self as reference,
    formats::{bf16, f16},
    functions::noise,
    ulp,
};

use crate::common::{self, AWKWARD, Rng, bits, gpu, read_bytes, tiny_gpu, webgpu_default_gpu};

/// Every format of a parameter with every precision that it can have.
fn params() -> impl Iterator<Item = (Dtype, Precision)> {
    let with =
        |precision: &'static Precision| precision.dtypes().iter().map(|dtype| (*dtype, *precision));
    Precision::ALL.iter().flat_map(with)
}

const SEED: u32 = 77;

fn adamw() -> AdamW {
    AdamW::new().lr(1e-2).weight_decay(0.1)
}

fn size_bytes(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

fn encode(dtype: Dtype, value: f32) -> u32 {
    match dtype {
        Dtype::F16 => f16::encode(value).into(),
        Dtype::Bf16 => bf16::encode(value).into(),
        _ => value.to_bits(),
    }
}

fn decode(dtype: Dtype, code: u32) -> f32 {
    let half = u16::try_from(code & 0xffff).unwrap();
    match dtype {
        Dtype::F16 => f16::decode(half),
        Dtype::Bf16 => bf16::decode(half),
        _ => f32::from_bits(code),
    }
}

/// Values of that size which the format holds exactly.
fn exact(rng: &mut Rng, dtype: Dtype, len: usize, scale: f32) -> Vec<f32> {
    rng.values(len, scale).iter().map(|value| decode(dtype, encode(dtype, *value))).collect()
}

fn specs(dtype: Dtype, precision: Precision, grad: Dtype) -> Vec<TensorSpec> {
    common::specs(&AWKWARD)
        .into_iter()
        .map(|spec| spec.dtype(dtype).grad_dtype(grad).precision(precision))
        .collect()
}

/// Where parameters and gradients lie.
#[derive(Clone, Copy, Debug)]
enum Site {
    Arena,
    /// A buffer for parameters, another for gradients.
    Apart,
    /// All in one, parameters and gradients in alternation.
    Together,
}

struct Lent {
    optimizer: Optimizer,
    /// The caller's buffers, with the bytes that belong to tensors.
    buffers: Vec<(wgpu::Buffer, Vec<bool>)>,
}

fn build(gpu: &Gpu, site: Site, specs: &[TensorSpec]) -> Lent {
    let groups = [Group::new("all", adamw())];
    let options = Options { seed: SEED, ..Options::default() };
    if let Site::Arena = site {
        let optimizer = Optimizer::arena_with(gpu, &groups, specs, &options).unwrap();
        return Lent { optimizer, buffers: Vec::new() };
    }
    let mut used: Vec<Vec<bool>> = vec![Vec::new(); 2];
    let mut place = |number: usize, dtype: Dtype, len: usize| {
        let number = if let Site::Together = site { 0 } else { number };
        let bytes = &mut used[number];
        let at = bytes.len().next_multiple_of(4 * size_bytes(dtype));
        bytes.resize(at, false);
        bytes.resize(at + len * size_bytes(dtype), true);
        // So that the half of a word behind an odd end is nobody's.
        bytes.resize(bytes.len().next_multiple_of(8), false);
        (number, at as u64, len as u64)
    };
    let places: Vec<_> = specs
        .iter()
        .map(|spec| {
            let len = spec.shape[0];
            (place(0, spec.dtype, len), place(1, spec.grad_dtype, len))
        })
        .collect();
    let buffers: Vec<wgpu::Buffer> = used
        .iter()
        .map(|bytes| {
            // Every byte 0xa5, to see what was written.
            let words = vec![f32::from_bits(0xa5a5_a5a5); (bytes.len() / 4).max(4)];
            common::buffer(gpu, &words, wgpu::BufferUsages::STORAGE)
        })
        .collect();
    let range = |(number, at, len): (usize, u64, u64)| BufferRange::new(&buffers[number], at, len);
    let tensors: Vec<BorrowedTensor> = specs
        .iter()
        .zip(&places)
        .map(|(spec, (param, grad))| BorrowedTensor {
            spec: spec.clone(),
            param: range(*param),
            grad: Some(range(*grad)),
        })
        .collect();
    let optimizer = Optimizer::borrowed_with(gpu, &groups, &tensors, &options).unwrap();
    Lent { optimizer, buffers: buffers.into_iter().zip(used).collect() }
}

/// The random bits of an element of a tensor in the first step.
fn random(number: usize, index: usize) -> u32 {
    let place = u32::try_from(index / 4).unwrap();
    noise([place, u32::try_from(number).unwrap(), 1, SEED])[index % 4]
}

/// The values within some ULP, which WGSL leaves open.
fn within(value: f32, ulps: u32) -> impl Iterator<Item = f32> {
    let bits = value.to_bits();
    (bits - ulps..=bits + ulps).map(f32::from_bits)
}

/// The parameter that the twin says, as its code: what of a rounded value may differ by the ULPs that
/// WGSL leaves open is `near`.
fn expected_code(spec: &TensorSpec, number: usize, index: usize, value: f32) -> u32 {
    let random = || random(number, index);
    match (spec.dtype, spec.precision) {
        (Dtype::F16, Precision::Stochastic) => f16::encode_stochastic(value, random()).into(),
        (Dtype::Bf16, Precision::Stochastic) => bf16::encode_stochastic(value, random()).into(),
        (_, Precision::Remainder | Precision::Remainder8) => bf16::encode_away(value).into(),
        (dtype, _) => encode(dtype, value),
    }
}

fn check(gpu: &Gpu, site: Site, dtype: Dtype, precision: Precision, grad_dtype: Dtype) {
    let what = format!("{site:?} {dtype} with {precision}, gradient {grad_dtype}");
    let specs = specs(dtype, precision, grad_dtype);
    let Lent { mut optimizer, buffers } = build(gpu, site, &specs);
    let mut rng = Rng(21);
    let rule = adamw();
    let options = serde_json::json!({ "weight_decay": rule.weight_decay });
    let adamw = reference::rule("adamw", &options);
    let mut twins = Vec::new();
    for (index, len) in AWKWARD.into_iter().enumerate() {
        let id = TensorId::new(index);
        let (param, grad) =
            (exact(&mut rng, dtype, len, 1.0), exact(&mut rng, grad_dtype, len, 0.25));
        optimizer.write_param(id, &param).unwrap();
        optimizer.write_grad(id, &grad).unwrap();
        assert_eq!(bits(&optimizer.read_param(id).unwrap()), bits(&param), "{what}");
        assert_eq!(bits(&optimizer.read_grad(id).unwrap()), bits(&grad), "{what}");
        let mut twin = reference::Tensor::<f32>::new(&*adamw, param);
        twin.step(&*adamw, rule.lr, &grad);
        twins.push((twin, grad));
    }
    let before: Vec<Vec<u8>> = buffers.iter().map(|(buffer, _)| read_bytes(gpu, buffer)).collect();
    optimizer.step(&Step::new()).unwrap();
    for (index, (twin, grad)) in twins.iter().enumerate() {
        let id = TensorId::new(index);
        let master = optimizer.read_master(id).unwrap();
        let param = optimizer.read_param(id).unwrap();
        assert_eq!(param.len(), twin.param.len());
        for (at, (param, master)) in param.iter().zip(&master).enumerate() {
            let code = encode(dtype, *param);
            if matches!(precision, Precision::Master | Precision::Remainder) {
                let distance = ulp::distance(*master, twin.param[at]);
                assert!(distance <= 2, "{what} {index}[{at}]: {master:e}, {distance} ulp");
                assert_eq!(code, expected_code(&specs[index], index, at, *master), "{what}");
            } else if precision == Precision::Remainder8 {
                let random = random(index, at);
                let mut rounded =
                    within(twin.param[at], 2).map(|value| bf16::round24_stochastic(value, random));
                assert!(rounded.any(|value| value.to_bits() == master.to_bits()), "{what}");
                assert_eq!(code, expected_code(&specs[index], index, at, *master), "{what}");
            } else {
                let near = within(twin.param[at], 2)
                    .any(|value| code == expected_code(&specs[index], index, at, value));
                let (param, twin) = (*param, twin.param[at]);
                assert!(near, "{what} {index}[{at}]: {param:e} of {twin:e}");
            }
        }
        assert_eq!(bits(&optimizer.read_grad(id).unwrap()), bits(grad), "{what}");
        for slot in ["exp_avg", "exp_avg_sq"] {
            let expected = twin.get(&*adamw, slot);
            let found = optimizer.read_state(id, slot).unwrap();
            let close = found.iter().zip(expected).all(|(a, b)| ulp::distance(*a, *b) <= 2);
            assert!(close, "{what} {index} {slot}");
        }
    }
    // Nothing that is not a parameter's was changed; with zeroing, nor a gradient's.
    optimizer.step(&Step::new().zero_grads()).unwrap();
    for ((buffer, used), before) in buffers.iter().zip(&before) {
        let after = read_bytes(gpu, buffer);
        for (at, used) in used.iter().enumerate() {
            assert!(*used || after[at] == before[at], "{what}: byte {at}");
        }
    }
    for (index, len) in AWKWARD.into_iter().enumerate() {
        let grad = optimizer.read_grad(TensorId::new(index)).unwrap();
        assert_eq!(bits(&grad), vec![0; len], "{what}: zeroed, and no minus zero");
    }
}

#[test]
fn every_pair_of_formats_steps_as_the_twin() {
    let gpu = gpu();
    for (dtype, precision) in params() {
        for &grad_dtype in Dtype::ALL {
            for site in [Site::Arena, Site::Apart, Site::Together] {
                check(&gpu, site, dtype, precision, grad_dtype);
            }
        }
    }
}

#[test]
fn formats_keep_within_small_limits() {
    for gpu in [tiny_gpu(), webgpu_default_gpu()] {
        for site in [Site::Arena, Site::Apart, Site::Together] {
            check(&gpu, site, Dtype::Bf16, Precision::Remainder, Dtype::F32);
            check(&gpu, site, Dtype::Bf16, Precision::Remainder8, Dtype::Bf16);
            check(&gpu, site, Dtype::F16, Precision::Stochastic, Dtype::F16);
        }
    }
}

#[test]
fn every_code_of_a_gradient_arrives() {
    // p = 0 - 1 * g gives every gradient back, in tensors that end in the middle of a word too.
    let gpu = gpu();
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for len in [1 << 16, (1 << 16) - 1] {
            let spec = TensorSpec::new("t", [len]).grad_dtype(dtype);
            let group = Group::new("all", Sgd::new().lr(1.0));
            let usage = wgpu::BufferUsages::STORAGE;
            let codes: Vec<f32> = (0..1u32 << 15)
                .map(|word| f32::from_bits((2 * word) | ((2 * word + 1) << 16)))
                .collect();
            let grads = common::buffer(&gpu, &codes, usage);
            let params = common::buffer(&gpu, &vec![0.0; 1 << 16], usage);
            let tensor = BorrowedTensor {
                spec,
                param: BufferRange::new(&params, 0, len as u64),
                grad: Some(BufferRange::new(&grads, 0, len as u64)),
            };
            let mut optimizer = Optimizer::borrowed(&gpu, &[group], &[tensor]).unwrap();
            optimizer.step(&Step::new()).unwrap();
            let found = optimizer.read_param(TensorId::new(0)).unwrap();
            for (code, found) in (0u32..).zip(found) {
                let grad = decode(dtype, code);
                // Arithmetic in f32 may flush a subnormal number of f32, which only bf16 has.
                let flushed = grad.is_subnormal() && found == 0.0;
                let same = found == -grad || (grad.is_nan() && found.is_nan());
                assert!(same || flushed, "{dtype} {code:#06x}: {found:e}");
            }
        }
    }
}

#[test]
fn small_updates_are_kept_by_all_but_rounding_to_nearest() {
    // p = 1, lr 1e-4, 100 steps of a constant gradient: 0.99 is right.
    let gpu = gpu();
    let run = |dtype, precision, seed| {
        let spec = TensorSpec::new("p", [4096]).dtype(dtype).precision(precision);
        let rule = AdamW::new().lr(1e-4).weight_decay(0.0);
        let options = Options { seed, ..Options::default() };
        let mut optimizer =
            Optimizer::arena_with(&gpu, &[Group::new("all", rule)], &[spec], &options).unwrap();
        let id = TensorId::new(0);
        optimizer.write_param(id, &[1.0; 4096]).unwrap();
        optimizer.write_grad(id, &[0.5; 4096]).unwrap();
        for _ in 0..100 {
            optimizer.step(&Step::new()).unwrap();
        }
        (optimizer.read_param(id).unwrap(), optimizer.read_master(id).unwrap())
    };
    let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / 4096.0;
    let near = |value: f64, bound| assert!((value - 0.99).abs() < bound, "{value}");
    let (stalled, _) = run(Dtype::Bf16, Precision::Nearest, 0);
    assert!(stalled.iter().all(|p| *p == 1.0));
    for (dtype, precision) in [
        (Dtype::Bf16, Precision::Remainder),
        (Dtype::Bf16, Precision::Master),
        (Dtype::F16, Precision::Master),
    ] {
        let (param, master) = run(dtype, precision, 0);
        near(mean(&master), 2e-6);
        // The parameter is the nearest code.
        assert!(param.iter().all(|p| *p == decode(dtype, encode(dtype, master[0]))));
    }
    // 24 bits: a walk over units of 2^-16.
    let (_, master) = run(Dtype::Bf16, Precision::Remainder8, 1);
    near(mean(&master), 4e-6);
    assert!(master.iter().all(|value| (f64::from(*value) - 0.99).abs() < 1e-3));
    for dtype in [Dtype::Bf16, Dtype::F16] {
        let (param, _) = run(dtype, Precision::Stochastic, 1);
        // In bf16 a walk of 100 steps over units of 2^-8 and 2^-9 of chance 1/40 or so: its mean over
        // 4096 elements has a standard deviation of 1e-4.
        near(mean(&param), 5e-4);
        assert_eq!(bits(&run(dtype, Precision::Stochastic, 1).0), bits(&param));
        assert_ne!(bits(&run(dtype, Precision::Stochastic, 2).0), bits(&param));
    }
}

#[test]
fn a_master_copy_follows_a_parameter_that_somebody_else_wrote() {
    let gpu = gpu();
    for (dtype, precision) in [(Dtype::F16, Precision::Master), (Dtype::Bf16, Precision::Master)] {
        let specs = [TensorSpec::new("p", [300]).dtype(dtype).precision(precision)];
        let mut optimizer = Optimizer::arena(&gpu, &[Group::new("all", adamw())], &specs).unwrap();
        let id = TensorId::new(0);
        // Values that the format does not hold: the master does.
        let values: Vec<f32> = (0..300).map(|i| 1.0 + i as f32 * 1e-5).collect();
        optimizer.write_param(id, &values).unwrap();
        assert_eq!(bits(&optimizer.read_master(id).unwrap()), bits(&values));
        optimizer.write_grad(id, &vec![0.0; 300]).unwrap();
        optimizer.step(&Step::lr(0.0)).unwrap();
        assert_eq!(bits(&optimizer.read_master(id).unwrap()), bits(&values));
        // A kernel of the runtime's sets one element to 3.
        let slice = optimizer.param(id).unwrap();
        let word = encode(dtype, 3.0) | encode(dtype, 1.0) << 16;
        gpu.queue().write_buffer(slice.buffer(), slice.offset(), &word.to_le_bytes());
        optimizer.step(&Step::lr(0.0)).unwrap();
        let master = optimizer.read_master(id).unwrap();
        assert_eq!(master[0], 3.0);
        assert_eq!(bits(&master[1..]), bits(&values[1..]));
    }
}

#[test]
fn formats_mix_freely_in_one_optimizer() {
    let gpu = gpu();
    let mut specs = Vec::new();
    for (dtype, precision) in params() {
        for &grad_dtype in Dtype::ALL {
            let name = format!("{dtype} {precision} {grad_dtype}");
            let spec = TensorSpec::new(name, [1000]).dtype(dtype).grad_dtype(grad_dtype);
            specs.push(spec.precision(precision));
        }
    }
    let options = Options { max_norm: Some(f64::INFINITY), ..Options::default() };
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[Group::new("all", adamw())], &specs, &options).unwrap();
    // A kernel for each pair, a measurement for each gradient format and its buffers, and three more.
    assert_eq!(optimizer.dispatches(), specs.len() + specs.len() + 3);
    for index in 0..specs.len() {
        optimizer.write_grad(TensorId::new(index), &[2.0; 1000]).unwrap();
        optimizer.write_param(TensorId::new(index), &[1.0; 1000]).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    let report = &optimizer.wait_reports().unwrap()[0];
    assert_eq!(report.norm, (specs.len() as f32 * 1000.0 * 4.0).sqrt());
    for (index, spec) in specs.iter().enumerate() {
        // p - lr * wd * p - lr = 0.989
        let param = optimizer.read_param(TensorId::new(index)).unwrap();
        assert!(param.iter().all(|p| (p - 0.989).abs() < 4e-3), "{spec:?}");
    }
    assert_eq!(optimizer.read_steps().unwrap(), vec![1; specs.len()]);
}
