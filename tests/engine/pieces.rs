//! A tensor in pieces gives the bits of the whole.

#![allow(clippy::cast_possible_truncation, reason = "lengths of test tensors are small")]

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, Options, Precision, Slot,
    SlotShape, StateFormat, Step, TensorId, TensorSpec, Whole, wgpu::BufferUsages,
};

use crate::common::{self, Case, Rng, bits, buffer, cases, gpu};

const LEN: usize = 40_009;
/// At rows of a norm, and anywhere else that a piece may begin.
const AT_ROWS: [usize; 3] = [0, 16_384, 32_768];
const ANYWHERE: [usize; 4] = [0, 256, 20_480, 39_936];

fn values(seed: u64, scale: f32) -> Vec<f32> {
    Rng(seed).values(LEN, scale)
}

/// The ranges of pieces that begin there.
fn ranges(begins: &[usize]) -> Vec<std::ops::Range<usize>> {
    let ends = begins.iter().skip(1).copied().chain([LEN]);
    begins.iter().zip(ends).map(|(begin, end)| *begin..end).collect()
}

/// Parameters, state and norms after some steps of the tensor that begins there in pieces.
fn trained(
    gpu: &Gpu,
    group: &Group,
    (dtype, precision): (Dtype, Precision),
    (begins, borrowed): (&[usize], bool),
) -> (Vec<Vec<u32>>, Vec<u32>) {
    let ranges = ranges(begins);
    let mut specs: Vec<TensorSpec> = ranges
        .iter()
        .map(|range| {
            let (number, len_elems) = (7, LEN as u64);
            let whole = Whole { number, len_elems, first_elem: range.start as u64 };
            let spec = TensorSpec::new(format!("t{}", range.start), [range.len()]);
            spec.dtype(dtype).precision(precision).grad_dtype(Dtype::F32).piece_of(whole)
        })
        .collect();
    // Another tensor before them: numbers are not places.
    specs.insert(0, TensorSpec::new("another", [if begins.len() == 1 { 5 } else { 700 }]));
    let options = Options { max_norm: Some(1.0), seed: 11, ..Options::default() };
    let groups = [group.clone(), Group::new("another", AdamW::default())];
    specs[0] = specs[0].clone().in_group("another");
    let mut optimizer = if borrowed {
        let lend = |spec: &TensorSpec| {
            let len = spec.len_elems().unwrap();
            let zeros = vec![0.0; (len as usize).next_multiple_of(4)];
            BufferRange::new(&buffer(gpu, &zeros, BufferUsages::STORAGE), 0, len)
        };
        let tensor = |spec: &TensorSpec| BorrowedTensor {
            spec: spec.clone(),
            param: lend(spec),
            grad: Some(lend(spec)),
        };
        let tensors: Vec<_> = specs.iter().map(tensor).collect();
        Optimizer::borrowed_with(gpu, &groups, &tensors, &options).unwrap()
    } else {
        Optimizer::arena_with(gpu, &groups, &specs, &options).unwrap()
    };
    let ids = || (1..).map(TensorId::new).zip(&ranges);
    let params = values(1, 1.0);
    for (id, range) in ids() {
        optimizer.write_param(id, &params[range.clone()]).unwrap();
    }
    let mut norms = Vec::new();
    for step in 2..5 {
        let grads = values(step, 0.1);
        for (id, range) in ids() {
            optimizer.write_grad(id, &grads[range.clone()]).unwrap();
        }
        let report = common::step(&mut optimizer, &Step::new());
        norms.push(report.norm_per_group[0].to_bits());
    }
    let whole = |read: &dyn Fn(TensorId) -> Vec<f32>| -> Vec<u32> {
        ids().flat_map(|(id, _)| bits(&read(id))).collect()
    };
    let mut all = vec![whole(&|id| optimizer.read_master(id).unwrap())];
    for slot in optimizer.slots(TensorId::new(1)).unwrap() {
        let mut values = whole(&|id| optimizer.read_state(id, slot.name).unwrap());
        if slot.shape == SlotShape::Scalar {
            // Each piece has its own, the whole's.
            values.dedup();
        }
        all.push(values);
    }
    (all, norms)
}

#[test]
fn pieces_give_the_bits_of_the_whole_in_every_format() {
    let gpu = gpu();
    for &state in StateFormat::ALL {
        let group = Group::new("all", AdamW::new().lr(1e-2)).state(state);
        for kept in [
            (Dtype::F32, Precision::Nearest),
            (Dtype::Bf16, Precision::Stochastic),
            (Dtype::Bf16, Precision::Remainder8),
        ] {
            let (expected, expected_norms) = trained(&gpu, &group, kept, (&[0], false));
            for borrowed in [false, true] {
                let (found, norms) = trained(&gpu, &group, kept, (&AT_ROWS, borrowed));
                let name = format!("{state} {kept:?} {borrowed}");
                assert_eq!(norms, expected_norms, "{name}");
                assert!(found == expected, "{name}");
            }
        }
    }
}

#[test]
fn every_rule_takes_pieces_that_begin_anywhere() {
    let gpu = gpu();
    // What is summed over a tensor, or a block of it, is the piece's own.
    let of_blocks = |slot: &Slot| matches!(slot.shape, SlotShape::Blocks(_));
    let sums = |case: &Case| case.twin.reduces() || case.slots().iter().any(of_blocks);
    for case in cases().into_iter().filter(|case| !sums(case)) {
        // Smaller than the threshold of low-bit state, but for the whole.
        let group =
            Group::new("all", case.rule.clone()).state(StateFormat::Int8).max_norm(f64::INFINITY);
        let kept = (Dtype::F32, Precision::Nearest);
        let (expected, _) = trained(&gpu, &group, kept, (&[0], true));
        let (found, _) = trained(&gpu, &group, kept, (&ANYWHERE, true));
        assert!(found == expected, "{:?}", case.rule);
    }
}

#[test]
fn what_no_piece_can_be_is_named() {
    let gpu = gpu();
    let says = |len: usize, first_elem: u64, expected: &str| {
        let whole = Whole { number: 0, len_elems: 1000, first_elem };
        let spec = TensorSpec::new("w", [len]).piece_of(whole);
        let group = [Group::new("all", AdamW::default())];
        let error = Optimizer::arena(&gpu, &group, &[spec]).unwrap_err();
        assert_eq!(error.to_string(), format!("tensor 'w': a piece must {expected} of 1000"));
    };
    says(256, 128, "begin at a multiple of 256 elements, found elements 128..384");
    says(800, 256, "end within its whole, found elements 256..1056");
    says(
        300,
        256,
        "be a multiple of 256 elements long, or end with its whole, found elements 256..556",
    );
}
