//! Where tensors lie, for the kernels.

use super::Info;
use crate::{
    Gpu, Result,
    abi::Placement,
    chunks::{self, Lent, LentTensor, Reach},
    control::{Ground, format_number},
    layout::Layout,
    lend::Lending,
    plan::{self, BLOCK_VEC4, Plan, Site},
};

/// A gradient, as *measure* looks at it: like a parameter that has none.
pub(super) fn measured(info: &Info, grad: Lent) -> LentTensor {
    LentTensor {
        param: grad,
        grad,
        len_elems: info.len_elems,
        place: crate::layout::Place {
            segment: format_number(info.spec.grad_dtype),
            first_block: 0,
            blocks: 0,
        },
        home_bytes: 0,
        window_blocks: 1,
    }
}

/// The placement of a tensor of this length, without its place.
pub(super) fn placement(len_elems: u64) -> Placement {
    let (len_vec4, tail_elems) = (number(len_elems / 4), number(len_elems % 4));
    Placement { len_vec4, tail_elems, ..Placement::default() }
}

/// Where the tensors lie in buffers of the caller's.
pub(super) fn borrowed_ground<'a>(
    infos: &[Info],
    layout: &Layout,
    lending: &'a Lending,
) -> Ground<'a> {
    let vec4 = |lent: &Lent| number(lent.offset / lent.vec4_bytes());
    let (mut placements, mut grads) = (Vec::new(), Vec::new());
    for ((info, place), (param, grad)) in infos.iter().zip(&layout.places).zip(&lending.ranges) {
        placements.push(Placement {
            group: number(info.group),
            param_vec4: vec4(param),
            grad_vec4: vec4(grad),
            state_vec4: place.first_block * BLOCK_VEC4,
            ..placement(info.len_elems)
        });
        grads.push(measured(info, *grad));
    }
    Ground { placements, grads, buffers: lending.buffers.iter().collect() }
}

pub(super) fn borrowed_plan(site: Site<'_>, infos: &[Info], lending: &Lending) -> Result<Plan> {
    let Site { gpu, programs, layout, .. } = site;
    let lent: Vec<LentTensor> = infos
        .iter()
        .zip(&layout.places)
        .zip(&lending.ranges)
        .map(|((info, place), (param, grad))| {
            let program = &programs[layout.segments[place.segment].kernel];
            LentTensor {
                param: *param,
                grad: *grad,
                len_elems: info.len_elems,
                place: *place,
                home_bytes: program.home_bytes(),
                window_blocks: program.window_blocks(),
            }
        })
        .collect();
    let dispatches = chunks::dispatches(&lent, reach(gpu));
    Plan::borrowed(site, &lending.buffers, &dispatches)
}

/// What the bindings of an update can reach.
pub(super) fn reach(gpu: &Gpu) -> Reach {
    plan::reach(gpu.limits(), plan::max_chunks(gpu.limits()))
}

/// A number that an earlier check has shown to fit.
pub(super) fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
