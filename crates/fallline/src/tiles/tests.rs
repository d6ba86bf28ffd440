#![allow(clippy::cast_possible_truncation, reason = "the tests' numbers are small")]

use proptest::prelude::*;

use super::*;

const REACH: Reach = Reach { max_binding_bytes: 1 << 17, max_tiles: 1 << 20, tight: None };

/// Tensors with the sizes of the buffers that they lie in.
struct Laid {
    extents: Vec<Extent>,
    lent: Vec<LentTensor>,
    buffers: Vec<u64>,
    tiles: u32,
}

impl Laid {
    fn tile_inputs(&self, reach: Reach) -> TileInputs<'_> {
        let (extents, lent, buffers) = (&self.extents, &self.lent, &self.buffers);
        TileInputs { extents, lent, buffers, segments: std::slice::from_ref(&self.tiles), reach }
    }

    fn group(&self, reach: Reach) -> Grouping {
        group(&pieces(&self.extents, reach), self.tile_inputs(reach))
    }
}

fn extent(len_elems: u64, first_tile: u32, elem_bytes: (u64, u64)) -> Extent {
    let place = Place { segment: 0, first_tile, tiles: tiles_of(len_elems) as u32 };
    Extent { len_elems, elem_bytes, place, state_or_master_bytes: 780, window_tiles: 64 }
}

/// Lays tensors out one behind the other, parameters and gradients in alternation, over
/// `buffers` buffers; the state in one segment.
fn lay_out(lengths: &[u64], buffers: usize, elem_bytes: (u64, u64), gap: u64) -> Laid {
    let mut ends = vec![0u64; buffers];
    let (mut extents, mut tensors, mut tiles) = (Vec::new(), Vec::new(), 0);
    for (number, &len_elems) in lengths.iter().enumerate() {
        let mut lend = |number: usize, elem_bytes: u64| {
            let buffer = number % buffers;
            let offset = (ends[buffer] + gap).next_multiple_of(elem_bytes * 4);
            ends[buffer] = (offset + len_elems * elem_bytes).next_multiple_of(8);
            Lent { buffer, offset }
        };
        tensors.push(LentTensor {
            param: lend(number, elem_bytes.0),
            grad: Some(lend(number / 2 + 1, elem_bytes.1)),
        });
        extents.push(extent(len_elems, tiles, elem_bytes));
        tiles += tiles_of(len_elems) as u32;
    }
    Laid { extents, lent: tensors, buffers: ends, tiles }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

fn check(laid: &Laid, reach: Reach) -> Result<(), TestCaseError> {
    let mut seen: Vec<Vec<u32>> =
        laid.extents.iter().map(|t| vec![0; t.len_elems as usize]).collect();
    let grouping = laid.group(reach);
    let expanded = grouping.expanded();
    prop_assert_eq!(expanded.len(), grouping.tiles() as usize);
    for TileDispatch { windows, tiles } in &grouping.dispatches {
        let grad = windows.grad.clone().unwrap_or(windows.param.clone());
        for bound in [&windows.param, &grad] {
            prop_assert!(bound.bytes.end - bound.bytes.start <= reach.max_binding_bytes);
            prop_assert!(bound.bytes.end <= laid.buffers[bound.buffer]);
            prop_assert_eq!(bound.bytes.start % ALIGNMENT, 0);
        }
        if let Some(grad) = &windows.grad {
            prop_assert!(
                grad.buffer != windows.param.buffer || !overlap(&grad.bytes, &windows.param.bytes)
            );
        }
        prop_assert!(tiles.len() as u32 <= reach.max_tiles);
        prop_assert_eq!(tiles.start % DISPATCH_TILES, 0);
        prop_assert!(windows.state.len() as u64 * 780 <= reach.max_binding_bytes);
        prop_assert_eq!(windows.state.start % 64, 0);
        // As a workgroup of 256 lanes sees it, with what fills it up.
        for tile in tiles.start..tiles.end.next_multiple_of(8) {
            let run = grouping.runs[expanded[tile as usize] as usize];
            let n = tile - tiles.start;
            let t = n - run.first_of_dispatch;
            let len = u64::from(run.len_elems.saturating_sub(t * 256).min(256));
            prop_assert_eq!(tile < tiles.end, len > 0);
            if len == 0 {
                continue;
            }
            let (extent, lent) =
                (&laid.extents[run.tensor as usize], &laid.lent[run.tensor as usize]);
            prop_assert_eq!(windows.ragged, len % 4 != 0);
            let first = u64::from(run.first_vec4 + t * 64) * 4;
            for elem in first..first + len {
                seen[run.tensor as usize][elem as usize] += 1;
            }
            let reached = |lent: Lent, bound: &Bound, vec4: u32, elem_bytes: u64| {
                let start = lent.offset + first * elem_bytes;
                let found = bound.bytes.start + u64::from(vec4 + t * 64) * 4 * elem_bytes;
                lent.buffer == bound.buffer
                    && found == start
                    && start + len * elem_bytes <= bound.bytes.end
            };
            prop_assert!(reached(lent.param, &windows.param, run.param_vec4, extent.elem_bytes.0));
            prop_assert!(reached(lent.grad.unwrap(), &grad, run.grad_vec4, extent.elem_bytes.1));
            let state = extent.place.first_tile + first as u32 / 256;
            prop_assert_eq!(windows.state.start + run.state_tile + t, state);
            prop_assert!(windows.state.contains(&state));
        }
    }
    prop_assert!(seen.iter().flatten().all(|count| *count == 1), "an element is not met once");
    Ok(())
}

proptest! {
    #[test]
    fn every_element_is_updated_exactly_once(
        lengths in prop::collection::vec(0u64..30_000, 0..40),
        buffers in 1usize..5,
        max_tiles in 1u32..300,
        max_binding_kib in 128u64..800,
        elem_bytes in (1u64..3, 1u64..3),
        gap in prop_oneof![Just(0u64), 0u64..400_000],
    ) {
        let laid = lay_out(&lengths, buffers, (2 * elem_bytes.0, 2 * elem_bytes.1), gap);
        check(&laid, Reach { max_tiles, max_binding_bytes: max_binding_kib << 10, ..REACH })?;
    }
}

#[test]
fn the_least_reach_is_enough() {
    let laid = lay_out(&[300_000, 5], 1, (4, 2), 0);
    check(&laid, Reach { max_binding_bytes: Reach::least(1024, 780, 64), ..REACH }).unwrap();
}

#[test]
fn tensors_of_one_buffer_share_a_dispatch() {
    let dispatches = lay_out(&[256; 50], 1, (4, 4), 0).group(REACH).dispatches;
    assert_eq!(dispatches.len(), 1);
    assert_eq!(dispatches[0].tiles, 0..50);
    assert!(dispatches[0].windows.grad.is_none(), "one binding serves parameter and gradient");
}

#[test]
fn gradients_in_another_order_do_not_cost_a_dispatch_each() {
    // 64 tensors of 16 KiB in 1 MiB: parameters in order, gradients interleaved.
    let laid = |len_elems: u64, order: fn(u64) -> u64| {
        let tensors = (1u64 << 18) / len_elems;
        let lent = |i: u64| LentTensor {
            param: Lent { buffer: 0, offset: i * len_elems * 4 },
            grad: Some(Lent { buffer: 1, offset: order(i * len_elems * 4) }),
        };
        let tiles = |i: u64| (i * len_elems / 256) as u32;
        Laid {
            extents: (0..tensors).map(|i| extent(len_elems, tiles(i), (4, 4))).collect(),
            lent: (0..tensors).map(lent).collect(),
            buffers: vec![1 << 20; 2],
            tiles: 1 << 10,
        }
    };
    let interleaved =
        |at: u64| (at >> 14) % 8 * (8 << 14) + (((at >> 14) / 8) << 14) + at % (1 << 14);
    let dispatches = laid(4096, interleaved).group(REACH).dispatches.len();
    // 11 windows of parameters and of gradients, at multiples of 96 KiB, and 16 of state.
    assert!(dispatches <= 11 * 11 + 16, "{dispatches}");
    assert!(laid(4096, |at| at).group(REACH).dispatches.len() <= 11 + 16);
    // Twice the tensors of half the size: the same windows, the same dispatches.
    assert_eq!(laid(2048, interleaved).group(REACH).dispatches.len(), dispatches);
}

#[test]
fn a_tensor_that_moves_in_its_buffer_keeps_its_windows() {
    let mut laid = lay_out(&[256; 50], 2, (4, 4), 0);
    let before = laid.group(REACH).dispatches;
    for tensor in &mut laid.lent {
        for lent in [Some(&mut tensor.param), tensor.grad.as_mut()].into_iter().flatten() {
            lent.offset = laid.buffers[lent.buffer] - 1024 - lent.offset;
        }
    }
    let after = laid.group(REACH).dispatches;
    let windows = |dispatches: &[TileDispatch]| -> Vec<Windows> {
        dispatches.iter().map(|dispatch| dispatch.windows.clone()).collect()
    };
    assert_eq!(windows(&before), windows(&after));
}

#[test]
fn distant_ranges_of_one_buffer_are_bound_apart() {
    let mut laid = lay_out(&[256], 1, (4, 4), 0);
    laid.buffers[0] = 2 << 30;
    laid.lent[0].grad = Some(Lent { buffer: 0, offset: 1 << 30 });
    let grouping = laid.group(REACH);
    let grad = grouping.dispatches[0].windows.grad.as_ref().unwrap();
    assert_eq!(grad.bytes.start, 1 << 30);
    assert_eq!(grouping.runs[0].grad_vec4, 0);
}

#[test]
fn a_tensor_without_gradient_is_in_no_dispatch() {
    let mut laid = lay_out(&[1000, 999, 1000], 2, (4, 4), 0);
    laid.lent[1].grad = None;
    let runs = laid.group(REACH).runs;
    assert!(runs.iter().all(|run| run.tensor != 1 || run.len_elems == 0));
    assert_eq!(runs.iter().map(|run| run.len_elems).sum::<u32>(), 2000);
}
