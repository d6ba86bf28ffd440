//! What a device permits: how much a buffer, a binding and a dispatch hold.

use crate::{
    Error, Gpu, Result,
    kernel::{self, Program, Stage},
    layout::{Item, Layout, REDUCE_LANES, TILE_LANES, TILE_VEC4, TooLarge, tiles_of},
    tiles::Reach,
};

/// Places tensors in buffers of the device for these programs; `name` tells which one is too large.
pub(crate) fn layout(
    gpu: &Gpu,
    programs: &[Program],
    items: &[Item],
    name: impl Fn(usize) -> String,
) -> Result<Layout> {
    for program in programs {
        let least = Reach::least(
            program.tile_bytes(),
            program.state_or_master_bytes(),
            program.window_tiles(),
        );
        let found = max_binding_bytes(gpu.limits());
        if found < least {
            let limit = "max_storage_buffer_binding_size";
            return Err(Error::DeviceLimit { limit, expected: least, found });
        }
    }
    let max_bytes = gpu.limits().max_buffer_size;
    // Kernels count the vec4s of a buffer in 32 bits.
    let countable = u32::MAX / TILE_VEC4;
    let most = |program: &Program| {
        u32::try_from(max_bytes / program.tile_bytes()).unwrap_or(u32::MAX).min(countable)
    };
    let most_tiles: Vec<u32> = programs.iter().map(most).collect();
    Layout::new(items, &most_tiles).map_err(|TooLarge { tensor }| {
        let tile_bytes = programs[items[tensor].kernel].tile_bytes();
        Error::TensorTooLarge {
            tensor: name(tensor),
            size_bytes: tiles_of(items[tensor].len_elems).saturating_mul(tile_bytes),
            max_bytes: max_bytes.min(u64::from(countable) * tile_bytes),
        }
    })
}

/// Tiles that one dispatch can reach: what a binding holds and what the dispatch limits permit.
pub(crate) fn max_window_tiles(gpu: &Gpu, program: &Program) -> u32 {
    let limits = gpu.limits();
    let reached = (max_binding_bytes(limits) / program.tile_bytes()).min(max_tiles(limits));
    u32::try_from(reached).unwrap_or(u32::MAX)
}

/// Bytes of a binding. wgpu tells Metal's kernels the size of a binding in 32 bits, and naga clamps
/// indices with it; the other backends have this limit themselves.
pub(crate) fn max_binding_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min((1 << 31) - 1)
}

/// What the bindings of a borrowed dispatch can reach. It does not fold: its last workgroup is its end.
pub(crate) fn reach(gpu: &Gpu) -> Reach {
    let limits = gpu.limits();
    let tiles = u64::from(kernel::row_workgroups(limits)) * workgroup_tiles(gpu, Stage::Update);
    Reach {
        max_binding_bytes: max_binding_bytes(limits),
        max_tiles: u32::try_from(tiles).unwrap_or(u32::MAX),
        tight: None,
    }
}

/// Workgroups of one dispatch.
pub(crate) fn max_workgroups(limits: &wgpu::Limits) -> u64 {
    let rows = u64::from(limits.max_compute_workgroups_per_dimension);
    (rows * u64::from(kernel::row_workgroups(limits))).min(u32::MAX.into())
}

/// Tiles of one dispatch that the dispatch limits permit.
fn max_tiles(limits: &wgpu::Limits) -> u64 {
    let workgroup_tiles = u64::from(kernel::workgroup_size(limits) / TILE_LANES);
    (max_workgroups(limits) * workgroup_tiles).min(u32::MAX.into())
}

/// Tiles of a workgroup.
pub(crate) fn workgroup_tiles(gpu: &Gpu, stage: Stage) -> u64 {
    let lanes = match stage {
        Stage::Reduce => REDUCE_LANES,
        Stage::Update => TILE_LANES,
    };
    u64::from(kernel::workgroup_size(gpu.limits()) / lanes)
}
