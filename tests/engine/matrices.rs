//! What rules keep of rows and columns: by shape, wherever tensors lie and are cut.
#![allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what the engine does")]

use fallline::{
    Adafactor, BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, Options, Saved, Slot,
    SlotShape, Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference as reference;

use crate::common::{Case, Rng, bits, buffer, cases, gpu, tiny_gpu};

/// Shapes around all that is counted: vec4s, blocks of 64 rows, chunks of 256 columns, matrices of many; of any remainder
/// by four; without matrices, without elements.
const SHAPES: [&[usize]; 23] = [
    &[],
    &[7],
    &[1, 1],
    &[1, 1030],
    &[1030, 1],
    &[3, 5],
    &[64, 4],
    &[65, 8],
    &[128, 256],
    &[129, 257],
    &[63, 255],
    &[70, 700],
    &[200, 300],
    &[9, 3, 3],
    &[2, 3, 5, 7],
    &[3, 66, 12],
    &[4, 0],
    &[300, 12],
    &[33, 47],
    &[40, 64],
    &[90, 100],
    &[16, 32],
    &[17, 9, 3, 3],
];

fn specs() -> Vec<TensorSpec> {
    let numbered = SHAPES.iter().enumerate();
    numbered.map(|(i, shape)| TensorSpec::new(format!("t{i}"), *shape)).collect()
}

fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Rows of different size, so that each has a factor of its own.
fn numbers(seed: u64, scale: f32) -> Vec<Vec<f32>> {
    let mut rng = Rng(seed);
    let of_shape = |shape: &&[usize]| {
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let mut values = rng.values(len(shape), scale);
        for (row, values) in values.chunks_mut(columns).enumerate() {
            let size = 1.0 + (row % 7) as f32;
            values.iter_mut().for_each(|value| *value *= size);
        }
        values
    };
    SHAPES.iter().map(of_shape).collect()
}

fn group() -> Group {
    Group::new("all", Adafactor::new().lr(0.02).weight_decay(0.1).d(1.5))
}

#[derive(Clone, Copy, Debug)]
enum Lies {
    Arena,
    /// Each from such an offset of a buffer of its own on, in elements.
    Borrowed(usize),
}

fn build(gpu: &Gpu, lies: Lies, options: &Options) -> Optimizer {
    let Lies::Borrowed(first) = lies else {
        return Optimizer::arena_with(gpu, &[group()], &specs(), options).unwrap();
    };
    let tensor = |spec: TensorSpec| {
        let len = len(&spec.shape);
        let buffers = [0, 1]
            .map(|_| buffer(gpu, &vec![0.0; (first + len).max(4)], wgpu::BufferUsages::STORAGE));
        let [param, grad] = buffers.map(|b| BufferRange::new(&b, first as u64 * 4, len as u64));
        BorrowedTensor { spec, param, grad: Some(grad) }
    };
    let tensors: Vec<_> = specs().into_iter().map(tensor).collect();
    Optimizer::borrowed_with(gpu, &[group()], &tensors, options).unwrap()
}

const STEPS: u64 = 3;

fn run(gpu: &Gpu, lies: Lies, options: &Options) -> Optimizer {
    stepped(build(gpu, lies, options))
}

fn stepped(mut optimizer: Optimizer) -> Optimizer {
    for (index, param) in numbers(1, 0.5).iter().enumerate() {
        optimizer.write_param(TensorId::new(index), param).unwrap();
    }
    for step in 0..STEPS {
        for (index, grad) in numbers(2 + step, 0.1).iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    optimizer
}

/// Everything that it keeps, by name.
fn everything(optimizer: &Optimizer) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    for (id, spec) in optimizer.tensors() {
        all.push((spec.name.clone(), optimizer.read_param(id).unwrap()));
        for slot in optimizer.slots(id).unwrap() {
            let values = optimizer.read_state(id, slot.name).unwrap();
            all.push((format!("{} {:?} {}", spec.name, spec.shape, slot.name), values));
        }
    }
    all
}

#[test]
fn every_shape_is_within_a_millionth_of_the_oracle() {
    let matrix = TensorSpec::new("matrix", [2, 2]);
    let has_rows = |slot: &Slot| matches!(slot.shape, SlotShape::Rows | SlotShape::Blocks(_));
    for case in cases() {
        if case.rule.slots(&matrix).iter().any(has_rows) {
            check_shapes(&case);
        }
    }
}

fn check_shapes(case: &Case) {
    let rule = &*case.twin;
    let widened = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let group = Group::new("all", case.rule.clone());
    let optimizer = stepped(Optimizer::arena(&gpu(), &[group], &specs()).unwrap());
    for (index, param) in numbers(1, 0.5).iter().enumerate() {
        let shape = SHAPES[index];
        let mut oracle = reference::Tensor::<f64>::shaped(rule, shape, widened(param));
        for step in 0..STEPS {
            let grad: Vec<f64> = widened(&numbers(2 + step, 0.1)[index]);
            oracle.step(rule, case.rule.lr(), &grad);
        }
        let id = TensorId::new(index);
        let close = |what: &str, found: &[f32], expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{shape:?} {what}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                let is_close = error <= 1e-6 * expected.abs() + 1e-7;
                assert!(
                    is_close,
                    "{:?} {shape:?} {what}[{index}]: {found:e} {expected:e}",
                    case.rule
                );
            }
        };
        for slot in optimizer.slots(id).unwrap() {
            let found = optimizer.read_state(id, slot.name).unwrap();
            close(slot.name, &found, oracle.get(rule, slot.name));
        }
        close("param", &optimizer.read_param(id).unwrap(), &oracle.param);
    }
}

/// The device as if bindings were small: for 64 rows of the widest of these, hardly.
fn small_gpu() -> Gpu {
    let small = wgpu::Limits {
        max_storage_buffer_binding_size: 1 << 19,
        max_buffer_size: 1 << 22,
        max_compute_workgroups_per_dimension: 64,
        ..wgpu::Limits::defaults()
    };
    gpu().restrict_limits(&small).expect("the engine works within these limits")
}

#[test]
fn wider_rows_than_a_binding_holds_are_refused() {
    let error = Optimizer::arena(&tiny_gpu(), &[group()], &specs()).unwrap_err().to_string();
    assert!(error.contains("max_storage_buffer_binding_size"), "{error}");
}

#[test]
fn neither_places_nor_cuts_change_a_bit() {
    let plain = Options::default();
    let expected = everything(&run(&gpu(), Lies::Arena, &plain));
    let measured = Options { max_norm: Some(1e9), ..Options::default() };
    for (gpu, lies, options) in [
        (gpu(), Lies::Borrowed(0), &plain),
        (gpu(), Lies::Borrowed(12), &plain),
        (small_gpu(), Lies::Arena, &plain),
        (small_gpu(), Lies::Borrowed(0), &plain),
        (gpu(), Lies::Arena, &measured),
    ] {
        for ((name, expected), (_, found)) in
            expected.iter().zip(everything(&run(&gpu, lies, options)))
        {
            assert_eq!(bits(expected), bits(&found), "{name} {lies:?}");
        }
    }
}

#[test]
fn gradients_of_16_bits_have_the_rows_of_their_values() {
    let gpu = gpu();
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for shape in [[70, 300], [9, 7]] {
            let wide = TensorSpec::new("wide", shape);
            let narrow = TensorSpec::new("narrow", shape).grad_dtype(dtype);
            let mut optimizer = Optimizer::arena(&gpu, &[group()], &[wide, narrow]).unwrap();
            let [wide, narrow] = [TensorId::new(0), TensorId::new(1)];
            let grad = Rng(3).values(shape[0] * shape[1], 0.1);
            optimizer.write_grad(narrow, &grad).unwrap();
            let rounded = optimizer.read_grad(narrow).unwrap();
            optimizer.write_grad(wide, &rounded).unwrap();
            optimizer.step(&Step::new()).unwrap();
            for slot in ["row_var", "col_var"] {
                let [wide, narrow] =
                    [wide, narrow].map(|id| bits(&optimizer.read_state(id, slot).unwrap()));
                assert_eq!(wide, narrow, "{dtype:?} {slot}");
            }
        }
    }
}

#[test]
fn state_is_as_long_as_rows_and_columns_together() {
    let specs = [TensorSpec::new("w", [1000, 3000])];
    let optimizer = Optimizer::arena(&gpu(), &[group()], &specs).unwrap();
    assert_eq!(optimizer.state_size_bytes(), 4 * (1000 + 3000));
}

#[test]
fn a_tensor_without_gradient_keeps_its_rows() {
    let specs = [TensorSpec::new("a", [9, 12]), TensorSpec::new("b", [9, 12])];
    let mut optimizer = Optimizer::arena(&gpu(), &[group()], &specs).unwrap();
    let ids = [TensorId::new(0), TensorId::new(1)];
    for id in ids {
        optimizer.write_grad(id, &Rng(1).values(108, 1.0)).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    let rows = |optimizer: &Optimizer| ids.map(|id| optimizer.read_state(id, "row_var").unwrap());
    let before = rows(&optimizer);
    for id in ids {
        optimizer.write_grad(id, &Rng(2).values(108, 3.0)).unwrap();
    }
    optimizer.step(&Step::new().without_grad(&ids[1..])).unwrap();
    let after = rows(&optimizer);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

#[test]
fn saved_and_resumed_rows_go_on_to_the_bit() {
    let mut whole = run(&gpu(), Lies::Arena, &Options::default());
    let mut saved = Saved::default();
    whole.save(&mut saved).unwrap();
    let mut resumed = build(&gpu(), Lies::Borrowed(4), &Options::default());
    resumed.load(&mut saved).unwrap();
    for optimizer in [&mut whole, &mut resumed] {
        for (index, grad) in numbers(9, 0.1).iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    for ((name, whole), (_, resumed)) in everything(&whole).iter().zip(everything(&resumed)) {
        assert_eq!(bits(whole), bits(&resumed), "{name}");
    }
}
