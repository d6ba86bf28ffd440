//! The update of tensors that the engine owns: a dispatch for each window of each segment.

use std::ops::Range;

use wgpu::{Buffer, BufferUsages};

use super::{Bindings, Staged, UpdateInputs};
use crate::{
    Dtype, Result, abi, compile,
    dispatch::{Dispatch, Tables, tiles_part},
    kernel::{self, Frame, Recipe},
    layout::{TILE_ELEMS, TILE_VEC4, windows},
    limits::{max_window_tiles, workgroup_tiles},
};

/// Some tiles of a segment, and what lies in the places of their parameters and gradients.
#[derive(Clone, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) segment: usize,
    /// From a multiple of the program's [`window_tiles`](kernel::Program::window_tiles) on.
    pub(crate) tiles: Range<u32>,
    /// From the first of these tiles on.
    pub(crate) param: &'a Buffer,
    pub(crate) grad: &'a Buffer,
}

/// The dispatches of an arena: the windows of every segment.
pub(crate) fn arena(update_inputs: UpdateInputs<'_>) -> Result<Staged<Dispatch>> {
    let segments = update_inputs.layout.segments.iter().zip(update_inputs.memory).enumerate();
    let mut dispatches = Staged::default();
    for (number, (segment, memory)) in segments {
        if let Some((param, grad)) = &memory.owned {
            let span = Span { segment: number, tiles: 0..segment.tiles, param, grad };
            arena_span(update_inputs, &span, &mut dispatches)?;
        }
    }
    Ok(dispatches)
}

/// The dispatches of some tiles.
pub(crate) fn arena_span(
    update_inputs: UpdateInputs<'_>,
    span: &Span<'_>,
    dispatches: &mut Staged<Dispatch>,
) -> Result<()> {
    let UpdateInputs { gpu, programs, layout, records, .. } = update_inputs;
    let program = &programs[layout.segments[span.segment].kernel];
    let table = layout.tile_table(span.segment, &span.tiles);
    let most = max_window_tiles(gpu, program);
    let windows = windows(&span.tiles, most, program.window_tiles());
    let in_span =
        |window: &Range<u32>| window.start - span.tiles.start..window.end - span.tiles.start;
    let tiles = windows.iter().map(in_span).map(|w| &table[w.start as usize..w.end as usize]);
    let tiles = Tables::new(gpu, "fallline tiles", BufferUsages::STORAGE, tiles)?;
    let origins: Vec<_> = windows.iter().map(|window| origin(window.start)).collect();
    let origins = Tables::new(gpu, "fallline windows", BufferUsages::UNIFORM, origins.chunks(1))?;
    for (index, window) in windows.iter().enumerate() {
        let role = |buffer, dtype: Dtype| {
            tiles_part(buffer, 0, &in_span(window), TILE_ELEMS * dtype.size_bytes())
        };
        let bound = Bindings {
            tiles: tiles.part(index),
            param: role(span.param, program.formats.param),
            grad: Some(role(span.grad, program.formats.grad)),
            state: (span.segment, window),
            last: origins.part(index),
        };
        let tiles_len = u64::from(window.end - window.start);
        for stage in program.stages() {
            let workgroups = tiles_len.div_ceil(workgroup_tiles(gpu, stage));
            let (x, y) = kernel::fold(workgroups, gpu.limits());
            let update = program
                .update(Frame::Arena, records.tensors_in, stage)
                .with_lane_vec4s(gpu.lane_vec4s());
            let kernel = compile::kernel(gpu, Recipe::Update(update))?;
            let bind_group = bound.bind(update_inputs, "fallline arena window", &kernel, stage)?;
            dispatches.push(stage, Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
        }
    }
    Ok(())
}

/// Where a window of an arena begins, in every role.
fn origin(first_tile: u32) -> abi::Window {
    let vec4 = first_tile * TILE_VEC4;
    abi::Window { first_vec4: vec4, padding0: 0, padding1: 0, padding2: 0 }
}
