//! Tensors that come and go.

use wgpu::CommandEncoder;

use super::{Lies, Optimizer, blueprint::Roster, borrowed::Placed, info::PerStep};
use crate::{
    BorrowedTensor, BufferRange, Error, Result, TensorId, TensorSpec, abi::Kept, layout::TILE_ELEMS,
};

impl Optimizer {
    /// Adds tensors to an arena. The others keep their ids, state, step counters and numbers in stochastic
    /// rounding, and those that are [frozen](Self::freeze) stay so; parameters and gradients of the new ones are zero.
    ///
    /// Buffers are made anew and what they hold is copied on the GPU: slices and accumulators from before
    /// are of the old ones. No step may be recorded and not yet submitted.
    ///
    /// # Errors
    /// As [`arena`](Self::arena); [`Error::NotArena`]. The optimizer is then as before.
    pub fn add_tensors(&mut self, tensors: &[TensorSpec]) -> Result<Vec<TensorId>> {
        if matches!(self.lies, Lies::Borrowed(_)) {
            return Err(Error::NotArena);
        }
        self.change(tensors, &[], &[])
    }

    /// Adds tensors of the caller's to an optimizer over borrowed buffers; otherwise as
    /// [`add_tensors`](Self::add_tensors).
    ///
    /// # Errors
    /// As [`borrowed`](Self::borrowed); [`Error::NotBorrowed`]. The optimizer is then as before.
    pub fn add_borrowed(&mut self, tensors: &[BorrowedTensor]) -> Result<Vec<TensorId>> {
        if matches!(self.lies, Lies::Arena { .. }) {
            return Err(Error::NotBorrowed);
        }
        let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let places: Vec<Placed> = tensors.iter().map(Placed::of).collect();
        self.change(&specs, &places, &[])
    }

    /// Takes tensors out: their state is given back, their ids are unknown from now on, and so are
    /// their names. Those of others stay; where values are given for each tensor, in the order of
    /// ids, such a tensor still has its place, and what stands there does not matter.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::OutOfMemory`]. The optimizer is then as before.
    pub fn remove_tensors(&mut self, ids: &[TensorId]) -> Result<()> {
        for id in ids {
            self.info(*id)?;
        }
        self.change(&[], &[], ids).map(drop)
    }

    /// The same optimizer with more tensors, or fewer.
    fn change(
        &mut self,
        added: &[TensorSpec],
        added_places: &[Placed],
        removed: &[TensorId],
    ) -> Result<Vec<TensorId>> {
        self.needs_trained("adding or removing tensors")?;
        let mut roster = Roster::default();
        for (index, info) in self.infos.iter().enumerate() {
            let gone = info.gone || removed.contains(&TensorId(index));
            let shape = if gone { vec![0] } else { info.spec.shape.clone() };
            // An empty piece is a piece of nothing.
            let whole = info.spec.whole.filter(|_| !gone);
            roster.specs.push(TensorSpec { shape, whole, ..info.spec.clone() });
            roster.gone.push(gone);
        }
        let first = roster.specs.len();
        roster.specs.extend_from_slice(added);
        roster.gone.resize(roster.specs.len(), false);

        let Self { gpu, groups, options, .. } = &*self;
        let mut changed = match &self.lies {
            Lies::Arena { .. } => Self::build_arena(gpu, groups, roster, options)?,
            Lies::Borrowed(borrowed) => {
                let nowhere = BufferRange::new(&self.dummy, 0, 0);
                let mut places = borrowed.places.clone();
                for (place, _) in places.iter_mut().zip(&roster.gone).filter(|(_, gone)| **gone) {
                    *place = Placed { param: nowhere.clone(), grad: None };
                }
                places.extend_from_slice(added_places);
                Self::build_borrowed(gpu, groups, roster, places, options)?
            }
        };
        let seed = self.control.seed();
        let mut numbers: Vec<u32> = (0..first).map(|index| self.control.number(index)).collect();
        for index in first..changed.infos.len() {
            let unused = numbers.iter().max().map_or(0, |most| most.wrapping_add(1));
            let whole = changed.infos[index].spec.whole;
            numbers.push(whole.map_or(unused, |whole| whole.number));
        }
        changed.control.write_identity(gpu, &changed.rules, seed, &numbers)?;
        gpu.checked("changed tensors", || {
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("fallline changed tensors"),
                });
            self.copy_kept(&changed, &mut encoder);
            gpu.queue().submit([encoder.finish()]);
        })?;
        gpu.check_lost()?;
        for (new, old) in changed.infos.iter_mut().zip(&self.infos) {
            new.frozen = old.frozen;
        }
        changed.per_step = PerStep::of(&changed.infos);
        if let (Some(new), Some(old)) = (&mut changed.reports, &self.reports) {
            new.go_on_after(old);
        }
        changed.steps = self.steps;
        *self = changed;
        Ok((first..self.infos.len()).map(TensorId).collect())
    }

    /// Copies what tensors keep, step counters, and what was decided last.
    fn copy_kept(&self, into: &Self, encoder: &mut CommandEncoder) {
        let places = self.layout.places.iter().zip(&into.layout.places);
        for ((old, new), info) in places.zip(&self.infos) {
            if old.tiles == 0 || new.tiles != old.tiles {
                continue;
            }
            let (from, to) = (&self.memory[old.segment], &into.memory[new.segment]);
            let program = &self.programs[self.layout.segments[old.segment].kernel];
            let mut copy = |from: &wgpu::Buffer, to: &wgpu::Buffer, tile_bytes: u64| {
                let at = |first: u32| u64::from(first) * tile_bytes;
                let size = u64::from(old.tiles) * tile_bytes;
                let (from_offset, to_offset) = (at(old.first_tile), at(new.first_tile));
                encoder.copy_buffer_to_buffer(from, from_offset, to, to_offset, size);
            };
            if let (Some((from, _)), Some((to, _))) = (&from.state, &to.state) {
                copy(from, to, program.state_bytes());
            }
            if let (Some(from), Some(to)) = (&from.master, &to.master) {
                copy(from, to, TILE_ELEMS * info.spec.precision.size_bytes());
            }
            if let (Some(from), Some(to)) = (&from.owned, &to.owned) {
                copy(&from.0, &to.0, TILE_ELEMS * info.spec.dtype.size_bytes());
                copy(&from.1, &to.1, TILE_ELEMS * info.spec.grad_dtype.size_bytes());
            }
        }
        self.vectors.copy_kept(&into.vectors, encoder);
        let tensors = self.infos.len() as u64;
        if tensors > 0 {
            let mut copy = |from: &wgpu::Buffer, to: &wgpu::Buffer, bytes: usize| {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, tensors * bytes as u64);
            };
            let (old, new) = (&self.control, &into.control);
            copy(&old.steps, &new.steps, size_of::<u32>());
            copy(&old.kept, &new.kept, size_of::<Kept>());
        }
        // What tensors share lies behind what each has.
        let behind = |tensors: u64| tensors * size_of::<Kept>() as u64;
        let (from, to) = (behind(tensors), behind(into.infos.len() as u64));
        let size = behind(self.rules.joints() as u64);
        encoder.copy_buffer_to_buffer(&self.control.kept, from, &into.control.kept, to, size);
        self.control.copy_decisions(&into.control, encoder);
    }
}
