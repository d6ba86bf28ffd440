//! The update of tensors that the engine owns: a dispatch for each window of each segment.

use wgpu::BufferUsages;

use super::{Bindings, Staged, UpdateInputs};
use crate::{
    Dtype, Result, abi, compile,
    dispatch::{Dispatch, Tables, tiles_part},
    kernel::{self, Frame, Recipe},
    layout::{TILE_ELEMS, TILE_VEC4, windows},
    limits::{max_window_tiles, workgroup_tiles},
};

/// The dispatches of an arena: the windows of every segment.
pub(crate) fn arena(update_inputs: UpdateInputs<'_>) -> Result<Staged<Dispatch>> {
    let UpdateInputs { gpu, programs, layout, memory, records, .. } = update_inputs;
    let mut dispatches = Staged::default();
    for (number, segment) in layout.segments.iter().enumerate() {
        let Some((param, grad)) = &memory[number].owned else { continue };
        let program = &programs[segment.kernel];
        let table = layout.tile_table(number);
        let most = max_window_tiles(gpu, program);
        let windows = windows(segment.tiles, most, program.window_tiles());
        let tiles = windows.iter().map(|w| &table[w.start as usize..w.end as usize]);
        let tiles = Tables::new(gpu, "fallline tiles", BufferUsages::STORAGE, tiles)?;
        let origins: Vec<_> = windows.iter().map(|window| origin(window.start)).collect();
        let origins =
            Tables::new(gpu, "fallline windows", BufferUsages::UNIFORM, origins.chunks(1))?;
        for (index, window) in windows.iter().enumerate() {
            let role = |buffer, dtype: Dtype| {
                tiles_part(buffer, 0, window, TILE_ELEMS * dtype.size_bytes())
            };
            let bound = Bindings {
                tiles: tiles.part(index),
                param: role(param, program.formats.param),
                grad: Some(role(grad, program.formats.grad)),
                state: (number, window),
                last: origins.part(index),
            };
            let tiles_len = u64::from(window.end - window.start);
            for &stage in program.stages() {
                let workgroups = tiles_len.div_ceil(workgroup_tiles(gpu, stage));
                let (x, y) = kernel::fold(workgroups, gpu.limits());
                let update = program.update(Frame::Arena, records.tensors_in, stage);
                let kernel = compile::kernel(gpu, Recipe::Update(update))?;
                let bind_group =
                    bound.bind(update_inputs, "fallline arena window", &kernel, stage)?;
                dispatches.push(stage, Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
            }
        }
    }
    Ok(dispatches)
}

/// Where a window of an arena begins, in every role.
fn origin(first_tile: u32) -> abi::Window {
    let vec4 = first_tile * TILE_VEC4;
    abi::Window { first_vec4: vec4, padding0: 0, padding1: 0, padding2: 0 }
}
