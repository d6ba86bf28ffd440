//! From groups and tensors to buffers and dispatches.

use super::{
    Lies, Optimizer,
    blueprint::{Blueprint, Roster},
    borrowed::{Borrowed, Outline, Placed, pack},
};
use crate::{
    BorrowedTensor, Error, Gpu, Group, Options, Places, Result, TensorSpec,
    control::{Control, Start},
    dispatch::BindGroups,
    layout::TILE_ELEMS,
    tiles::Grouping,
    transfer::OWNED,
    update::{self, SegmentBuffers},
};

impl Optimizer {
    /// An optimizer that owns parameters, gradients and state. Everything begins as zeros.
    ///
    /// Write the initial parameters with [`write_param`](Self::write_param) or by copying into
    /// [`param`](Self::param); let your kernels write the gradients into [`grad`](Self::grad).
    ///
    /// # Errors
    /// Groups or tensors given twice or unknown, a hyperparameter out of its range, formats that do not
    /// go together, a tensor larger than a buffer of the device can be, or the device out of memory.
    pub fn arena(gpu: &Gpu, groups: &[Group], tensors: &[TensorSpec]) -> Result<Self> {
        Self::arena_with(gpu, groups, tensors, &Options::default())
    }

    /// As [`arena`](Self::arena), with clipping, loss scaling or overflow checks.
    ///
    /// # Errors
    /// Also a limit out of its range, or a loss scaler of another device.
    pub fn arena_with(
        gpu: &Gpu,
        groups: &[Group],
        tensors: &[TensorSpec],
        options: &Options,
    ) -> Result<Self> {
        Self::build_arena(gpu, groups, Roster::new(tensors.to_vec()), options)
    }

    pub(super) fn build_arena(
        gpu: &Gpu,
        groups: &[Group],
        roster: Roster,
        options: &Options,
    ) -> Result<Self> {
        let blueprint = Blueprint::new(gpu, groups, &roster, options)?;
        let mut memory = Vec::new();
        for segment in &blueprint.layout.segments {
            let formats = blueprint.programs[segment.kernel].formats;
            let owned = match segment.tiles {
                0 => None,
                tiles => {
                    let elems = u64::from(tiles) * TILE_ELEMS;
                    let (param, grad) = (formats.param.size_bytes(), formats.grad.size_bytes());
                    Some((
                        gpu.buffer("fallline parameters", elems * param, OWNED)?,
                        gpu.buffer("fallline gradients", elems * grad, OWNED)?,
                    ))
                }
            };
            memory.push(SegmentBuffers { owned, ..blueprint.segment_buffers(gpu, segment)? });
        }
        let dummy = update::dummy(gpu)?;
        let (vectors, sums) = blueprint.vectors(gpu)?;
        let rows = blueprint.rows(gpu, groups, options, &vectors)?;
        let (grads, buffers) = blueprint.arena_grads(&memory);
        let sizes: Vec<u64> = buffers.iter().map(wgpu::Buffer::size).collect();
        let summed = rows.group(&grads, &sizes);
        let (places, offsets) = pack(gpu, &Grouping::default(), &summed);
        let start = Start {
            groups,
            options,
            rules: &blueprint.rules,
            placements: &blueprint.placements(),
            sums: (sums, &vectors),
            rows,
            places: &places,
            room: 0,
        };
        let control = Control::new(gpu, start)?;
        let update_inputs = blueprint.update_inputs(gpu, &memory, &control, &dummy);
        let updates = update::arena(update_inputs)?;
        let rows = control.bind_rows(
            gpu,
            (&summed, &offsets),
            |number| buffers.get(number),
            (&mut BindGroups::default(), 0),
        )?;
        blueprint.finish(
            gpu,
            groups,
            options,
            (memory, vectors, dummy),
            control,
            Lies::Arena { updates, rows },
        )
    }

    /// An optimizer over parameters and gradients of the caller's; it owns the state only.
    ///
    /// Tensors may lie in one buffer or in many, and parameters and gradients in the same. The
    /// buffers need the usage STORAGE, and every offset must be a multiple of the bytes of four
    /// elements. Nothing outside of the given ranges is ever changed.
    ///
    /// # Errors
    /// As [`arena`](Self::arena); also a range that is too short, misaligned, of another length than
    /// the tensor, or that overlaps a parameter.
    pub fn borrowed(gpu: &Gpu, groups: &[Group], tensors: &[BorrowedTensor]) -> Result<Self> {
        Self::borrowed_with(gpu, groups, tensors, &Options::default())
    }

    /// As [`borrowed`](Self::borrowed), with clipping, loss scaling or overflow checks.
    ///
    /// # Errors
    /// Also a limit out of its range, or a loss scaler of another device.
    pub fn borrowed_with(
        gpu: &Gpu,
        groups: &[Group],
        tensors: &[BorrowedTensor],
        options: &Options,
    ) -> Result<Self> {
        let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let places = tensors.iter().map(Placed::of).collect();
        Self::build_borrowed(gpu, groups, Roster::new(specs), places, options)
    }

    pub(super) fn build_borrowed(
        gpu: &Gpu,
        groups: &[Group],
        roster: Roster,
        places: Vec<Placed>,
        options: &Options,
    ) -> Result<Self> {
        let blueprint = Blueprint::new(gpu, groups, &roster, options)?;
        let (vectors, sums) = blueprint.vectors(gpu)?;
        let rows = blueprint.rows(gpu, groups, options, &vectors)?;
        let segments = blueprint.layout.segments.iter().map(|segment| segment.tiles).collect();
        let lies = (blueprint.infos.as_slice(), places.as_slice());
        let outline = Outline::new(gpu, blueprint.extents(), segments, &rows, lies)?;
        let mut memory = Vec::new();
        for segment in &blueprint.layout.segments {
            memory.push(blueprint.segment_buffers(gpu, segment)?);
        }
        let dummy = update::dummy(gpu)?;
        let start = Start {
            groups,
            options,
            rules: &blueprint.rules,
            placements: &blueprint.placements(),
            sums: (sums, &vectors),
            rows,
            places: &outline.packed,
            room: outline.room(),
        };
        let control = Control::new(gpu, start)?;
        let update_inputs = blueprint.update_inputs(gpu, &memory, &control, &dummy);
        let borrowed = Borrowed::new(outline, places, update_inputs, &control)?;
        let lies = Lies::Borrowed(Box::new(borrowed));
        blueprint.finish(gpu, groups, options, (memory, vectors, dummy), control, lies)
    }

    /// Takes parameters and gradients from other places from now on: as a step
    /// [at these places](Self::encode_step_at) does, with specs that say the same as before. The state
    /// and the step counters stay, and steps that are recorded already keep the places that they were
    /// recorded with.
    ///
    /// # Errors
    /// As [`borrowed`](Self::borrowed); [`Error::NotBorrowed`] for an arena, [`Error::OtherTensors`]
    /// if these are not the same tensors in the same order. The optimizer is then as before.
    pub fn rebind(&mut self, tensors: &[BorrowedTensor]) -> Result<()> {
        if matches!(self.lies, Lies::Arena { .. }) {
            return Err(Error::NotBorrowed);
        }
        let mut known = self.infos.iter().map(|info| &info.spec);
        let mut given = tensors.iter().map(|tensor| &tensor.spec);
        for index in 0..self.infos.len().max(tensors.len()) {
            let (expected, found) = (known.next(), given.next());
            if expected != found {
                let name = |spec: Option<&TensorSpec>| {
                    spec.map_or("none".into(), |spec| format!("'{}' {:?}", spec.name, spec.shape))
                };
                let (expected, found) = (name(expected), name(found));
                return Err(Error::OtherTensors { index, expected, found });
            }
        }
        let params: Vec<_> = tensors.iter().map(|tensor| tensor.param.clone()).collect();
        let grads: Vec<_> = tensors.iter().map(|tensor| tensor.grad.clone()).collect();
        self.place(&Places { params: Some(&params), grads: &grads })?;
        self.gpu.check_lost()
    }
}
