//! What a device permits: how much a buffer, a binding and a dispatch hold.

use crate::{
    Error, Gpu, Result,
    fits::fits,
    kernel::{self, Program, Stage},
    layout::{Item, Layout, REDUCE_LANES, TILE_VEC4, TooLarge, tiles_of},
    tiles::Reach,
};

/// Places tensors in buffers of the device for these programs; `name` names the one that is too large.
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
    let countable = u64::from(u32::MAX / TILE_VEC4);
    let most = |program: &Program| {
        fits((max_bytes / program.tile_bytes()).min(countable), "no more than can be counted")
    };
    let most_tiles: Vec<u32> = programs.iter().map(most).collect();
    Layout::new(items, &most_tiles).map_err(|TooLarge { tensor }| {
        let tile_bytes = programs[items[tensor].kernel].tile_bytes();
        Error::TensorTooLarge {
            tensor: name(tensor),
            size_bytes: tiles_of(items[tensor].len_elems).saturating_mul(tile_bytes),
            max_bytes: max_bytes.min(countable * tile_bytes),
        }
    })
}

/// Tiles that one dispatch can reach: what a binding holds and what the dispatch limits permit.
pub(crate) fn max_window_tiles(gpu: &Gpu, program: &Program) -> u32 {
    let limits = gpu.limits();
    let reached = (max_binding_bytes(limits) / program.tile_bytes()).min(max_tiles(gpu));
    fits(reached, "no more than the tiles of a dispatch, which are counted in 32 bits")
}

/// Bytes of a binding. wgpu passes the size of a binding to Metal's kernels in 32 bits, and naga clamps
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
        max_tiles: fits(tiles, "a row of a dispatch is short"),
        tight: None,
    }
}

/// Workgroups of one dispatch.
pub(crate) fn max_workgroups(limits: &wgpu::Limits) -> u64 {
    let rows = u64::from(limits.max_compute_workgroups_per_dimension);
    (rows * u64::from(kernel::row_workgroups(limits))).min(u32::MAX.into())
}

/// Tiles of one dispatch that the dispatch limits permit.
fn max_tiles(gpu: &Gpu) -> u64 {
    (max_workgroups(gpu.limits()) * workgroup_tiles(gpu, Stage::Update)).min(u32::MAX.into())
}

/// Tiles of a workgroup.
pub(crate) fn workgroup_tiles(gpu: &Gpu, stage: Stage) -> u64 {
    let lanes = match stage {
        Stage::Reduce => REDUCE_LANES,
        Stage::Update | Stage::MonitoredUpdate | Stage::Estimate { .. } => {
            TILE_VEC4 / gpu.lane_vec4s().count()
        }
    };
    u64::from(kernel::frame_size(gpu.limits()) / lanes)
}
