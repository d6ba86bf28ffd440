//! What rules keep of blocks of tensors: of any number and length, wherever they lie and are cut.

use fallline::{
    AdamMini, AdamMiniBlocks, BorrowedTensor, BufferRange, Error, Gpu, Group, Optimizer,
    OutOfRange, Rule, Slot, SlotShape, Source, StateFormat, Step, TensorId, TensorSpec, wgpu,
};

use crate::common::{Rng, bits, buffer, gpu};

/// Goes against the mean of a block's gradients, and keeps it.
const TEXT: &str = "
struct Hyper { padding0: vec4<f32>, padding1: vec4<f32>, }
struct StepHyper { padding0: vec4<f32>, padding1: vec4<f32>, }
struct Scalars { padding0: vec4<f32>, }
struct State { mean: vec4<f32>, }
fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars { return Scalars(); }
fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> { return grad; }
fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 { return mean; }
fn propose(
    param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper,
) -> Proposal {
    return Proposal(state.mean, state);
}
fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - direction;
}
fn state_of(slots: Slots) -> State { return State(slots.row); }
fn slots_of(state: State) -> Slots { return Slots(); }";

/// The slots of tensors by the number that their names are.
#[derive(Debug)]
struct Means(Vec<Vec<Slot>>);

impl Rule for Means {
    fn source(&self) -> Source {
        Source { path: "means", text: TEXT }
    }

    fn lr(&self) -> f64 {
        0.1
    }

    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }

    fn slots(&self, tensor: &TensorSpec) -> Vec<Slot> {
        self.0[tensor.name.parse::<usize>().unwrap_or(0)].clone()
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

fn mean(blocks: usize) -> Slot {
    Slot::moment("mean").shape(SlotShape::Blocks(blocks))
}

/// Shapes, and how many blocks. Blocks are shorter than rows of sums, as long, cut into some or so many that a
/// workgroup adds them up; prime, or of prime rows; of any remainder by four; without elements.
const CASES: [(&[usize], usize); 30] = [
    (&[], 1),
    (&[1], 1),
    (&[7], 7),
    (&[512], 8),
    (&[1030], 1),
    (&[40_009], 1),
    (&[2048], 2048),
    (&[6, 6], 3),
    (&[4, 6], 2),
    (&[9, 30], 9),
    (&[16, 32], 16),
    (&[40, 256], 40),
    (&[40, 300], 40),
    (&[64, 512], 4),
    (&[64, 512], 1),
    (&[32, 4096], 2),
    (&[300, 200], 1),
    (&[300, 202], 3),
    (&[67, 263], 1),
    (&[134, 263], 67),
    (&[131, 521], 131),
    (&[4 * 131, 521], 1),
    (&[2, 65_537], 2),
    (&[1, 9973], 1),
    (&[20_000, 3], 20_000),
    (&[17, 9, 3, 3], 17),
    (&[2, 3, 1, 5], 1),
    (&[3, 66, 12], 3),
    (&[0, 4], 1),
    (&[3, 0], 3),
];

fn rule() -> Means {
    Means(CASES.iter().map(|(_, blocks)| vec![mean(*blocks)]).collect())
}

fn specs() -> Vec<TensorSpec> {
    let numbered = CASES.iter().enumerate();
    numbered.map(|(number, (shape, _))| TensorSpec::new(number.to_string(), *shape)).collect()
}

fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Integers, so that no sum of them is rounded.
fn grads() -> Vec<Vec<f32>> {
    let mut rng = Rng(5);
    let of_shape = |(shape, _): &(&[usize], usize)| {
        rng.values(len(shape), 32.0).into_iter().map(f32::round).collect()
    };
    CASES.iter().map(of_shape).collect()
}

/// Where tensors lie: in the arena, or each from such an offset of a buffer of its own on, in elements.
fn build(gpu: &Gpu, first: Option<usize>) -> Optimizer {
    let groups = [Group::new("all", rule())];
    let Some(first) = first else {
        return Optimizer::arena(gpu, &groups, &specs()).unwrap();
    };
    let tensor = |spec: TensorSpec| {
        let len = len(&spec.shape);
        let [param, grad] = [0, 1].map(|_| {
            let contents = vec![0.0; (first + len).max(4)];
            let buffer = buffer(gpu, &contents, wgpu::BufferUsages::STORAGE);
            BufferRange::new(&buffer, first as u64 * 4, len as u64)
        });
        BorrowedTensor { spec, param, grad: Some(grad) }
    };
    let tensors: Vec<_> = specs().into_iter().map(tensor).collect();
    Optimizer::borrowed(gpu, &groups, &tensors).unwrap()
}

/// The device as if bindings were small, so that tensors are cut.
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
fn every_element_sees_the_mean_of_its_block_wherever_it_lies() {
    for (gpu, first) in [
        (gpu(), None),
        (gpu(), Some(0)),
        (gpu(), Some(12)),
        (small_gpu(), None),
        (small_gpu(), Some(4)),
    ] {
        let mut optimizer = build(&gpu, first);
        for (index, grad) in grads().iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
        for (index, ((shape, blocks), grad)) in CASES.iter().zip(grads()).enumerate() {
            let what = format!("{shape:?} in {blocks}, {first:?}");
            let id = TensorId::new(index);
            let found = optimizer.read_state(id, "mean").unwrap();
            assert_eq!(found.len(), *blocks, "{what}");
            let block_len = len(shape) / blocks;
            for (block, found) in found.iter().enumerate() {
                let own = &grad[block * block_len..(block + 1) * block_len];
                let sum: f64 = own.iter().copied().map(f64::from).sum();
                let expected = sum / block_len.max(1) as f64;
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 3e-7 * expected.abs(), "{what} {block}: {found} {expected}");
            }
            let expected: Vec<f32> =
                (0..len(shape)).map(|element| 0.0 - found[element / block_len]).collect();
            assert_eq!(bits(&optimizer.read_param(id).unwrap()), bits(&expected), "{what}");
        }
    }
}

#[test]
fn tensors_without_gradient_keep_what_they_have() {
    let mut optimizer = build(&gpu(), None);
    let ids: Vec<TensorId> = (0..CASES.len()).map(TensorId::new).collect();
    let means = |optimizer: &Optimizer| -> Vec<Vec<f32>> {
        ids.iter().map(|id| optimizer.read_state(*id, "mean").unwrap()).collect()
    };
    for (id, grad) in ids.iter().zip(grads()) {
        optimizer.write_grad(*id, &grad).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    let before = means(&optimizer);
    for (id, grad) in ids.iter().zip(grads()) {
        let other: Vec<f32> = grad.iter().map(|value| value + 1.0).collect();
        optimizer.write_grad(*id, &other).unwrap();
    }
    let (resting, moving): (Vec<TensorId>, Vec<TensorId>) =
        ids.iter().partition(|id| id.index() % 2 == 0);
    optimizer.step(&Step::new().without_grad(&resting)).unwrap();
    let after = means(&optimizer);
    assert!(resting.iter().all(|id| after[id.index()] == before[id.index()]));
    let moves = |id: &&TensorId| len(CASES[id.index()].0) > 0;
    assert!(moving.iter().filter(moves).all(|id| after[id.index()] != before[id.index()]));
}

#[test]
fn tensors_of_any_number_of_blocks_share_dispatches() {
    let tensors: Vec<_> = [2, 4, 8]
        .iter()
        .zip(0..)
        .map(|(n, name)| (mean(*n), TensorSpec::new(format!("{name}"), [16, 512])))
        .collect();
    let rule = Means(tensors.iter().map(|(slot, _)| vec![*slot]).collect());
    let specs: Vec<_> = tensors.into_iter().map(|(_, spec)| spec).collect();
    let optimizer = Optimizer::arena(&gpu(), &[Group::new("all", rule)], &specs).unwrap();
    // Steps counted, parts of blocks, these added up, the update.
    assert_eq!(optimizer.dispatches(), 4);
}

#[test]
fn blocks_must_be_equal_parts_of_the_first_dimension_and_go_without_rows() {
    let refused = |slots: Vec<Slot>, shape: &[usize]| {
        let groups = [Group::new("all", Means(vec![slots]))];
        let specs = [TensorSpec::new("0", shape)];
        Optimizer::arena(&gpu(), &groups, &specs).unwrap_err().to_string()
    };
    for (blocks, shape, first) in [(5, &[6, 10][..], 6), (2, &[], 1), (0, &[3], 3)] {
        let expected = format!(
            "tensor '0': {blocks} blocks of 'mean' are not equal parts of a first dimension of {first}"
        );
        assert_eq!(refused(vec![mean(blocks)], shape), expected);
    }
    let other = |shape| Slot::moment("other").shape(shape);
    for (shape, what) in [
        (SlotShape::Rows, "rows or blocks"),
        (SlotShape::Columns, "columns or blocks"),
        (SlotShape::Blocks(2), "rows or blocks"),
    ] {
        assert_eq!(
            refused(vec![mean(3), other(shape)], &[6, 10]),
            format!("rule 'means': at most 1 slots of {what}, found 2")
        );
    }
}

fn adam_mini(blocks: AdamMiniBlocks, heads: u32) -> AdamMini {
    AdamMini::new().blocks(blocks).heads(heads)
}

#[test]
fn adam_mini_keeps_a_moment_and_a_number_for_each_block() {
    let len = 512 * 768;
    for (blocks, numbers) in [
        (AdamMiniBlocks::Tensor, 1),
        (AdamMiniBlocks::Heads, 16),
        (AdamMiniBlocks::Rows, 512),
        (AdamMiniBlocks::Elements, len),
    ] {
        let specs = [TensorSpec::new("weight", [512, 768])];
        let size_bytes = |state: StateFormat| {
            let group = Group::new("all", adam_mini(blocks, 16)).state(state);
            Optimizer::arena(&gpu(), &[group], &specs).unwrap().state_size_bytes()
        };
        assert_eq!(size_bytes(StateFormat::F32), 4 * (len + numbers), "{blocks:?}");
        let eight_bits = len + len / 64;
        let v = if blocks == AdamMiniBlocks::Elements { eight_bits } else { 4 * numbers };
        assert_eq!(size_bytes(StateFormat::Int8), eight_bits + v, "{blocks:?}");
    }
}

#[test]
fn adam_mini_is_told_heads_that_there_are() {
    let build = |heads: u32| {
        let group = Group::new("queries", adam_mini(AdamMiniBlocks::Heads, heads));
        Optimizer::arena(&gpu(), &[group], &[TensorSpec::new("q", [6, 4])])
    };
    for (heads, expected) in [
        (0, "group 'queries': heads must be >= 1 with blocks of heads, found 0"),
        (4, "tensor 'q': 4 blocks of 'vmean' are not equal parts of a first dimension of 6"),
    ] {
        assert_eq!(build(heads).unwrap_err().to_string(), expected);
    }
    let mut optimizer = build(3).unwrap();
    for other in [adam_mini(AdamMiniBlocks::Heads, 2), adam_mini(AdamMiniBlocks::Rows, 0)] {
        let error = optimizer.set_rule("queries", other).unwrap_err();
        assert!(matches!(error, Error::OtherRule { .. }), "{error}");
    }
    optimizer.set_rule("queries", adam_mini(AdamMiniBlocks::Heads, 3).lr(0.5)).unwrap();
}
