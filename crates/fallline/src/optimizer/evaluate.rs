//! Parameters as they are trained, or those to be evaluated.

use wgpu::{Buffer, BufferUsages, CommandEncoder, ComputePass};

use super::{Dispatches, Lies, Optimizer, Step, borrowed::Placed};
use crate::{
    BufferRange, Error, Result, TensorId,
    control::Written,
    dispatch::Dispatch,
    formats::Formats,
    kernel::Program,
    layout::TILE_ELEMS,
    transfer::OWNED,
    update::{self, SegmentBuffers, Span, Staged, UpdateInputs},
};

/// What lies in the parameters of an optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What is trained.
    #[default]
    Train,
    /// What is to be evaluated: averages, or what a rule makes of its state.
    Evaluate,
}

/// While parameters are those to be evaluated: the way back.
#[derive(Debug)]
pub(super) struct Evaluating {
    records: Vec<Dispatch>,
    exchange: Dispatches,
}

impl Optimizer {
    /// Records that averages take the place of their parameters, each rounded to the nearest of its parameter's format,
    /// until [`encode_train`](Self::encode_train) puts these back, to the bit in any format and precision: meanwhile they are
    /// kept beside, in as many bytes. Averages, state and master copies stay where they are.
    ///
    /// Parameters of a rule that [says where](crate::Rule::evaluates) it evaluates them, and that have no average, are what it
    /// says. Others stay, as do those that have taken no step, or none that was averaged. Where none is evaluated elsewhere,
    /// nothing is recorded. Once more changes nothing.
    ///
    /// Steps, saving, and whatever else needs the parameters as they are trained are refused until then
    /// ([`Error::Evaluating`]); what runs write into parameters meanwhile is lost. The encoder must be submitted before the
    /// one that `encode_train` records into.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::TooManyUnsubmittedSteps`]. Nothing is recorded then.
    pub fn encode_eval(&mut self, encoder: &mut CommandEncoder) -> Result<()> {
        if self.mode() == Mode::Evaluate {
            return Ok(());
        }
        let (to, back) = self.exchanges()?;
        let records = self.control.evaluated(&self.gpu)?;
        let there = Evaluating { records, exchange: to };
        if there.exchange.len() > 0 {
            self.record_exchange(encoder, &there)?;
        }
        self.evaluating = Some(Evaluating { exchange: back, ..there });
        Ok(())
    }

    /// Records that parameters are again what they were before [`encode_eval`](Self::encode_eval). Once more changes nothing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::TooManyUnsubmittedSteps`]. Nothing is recorded then.
    pub fn encode_train(&mut self, encoder: &mut CommandEncoder) -> Result<()> {
        if let Some(back) = &self.evaluating
            && back.exchange.len() > 0
        {
            self.record_exchange(encoder, back)?;
        }
        self.evaluating = None;
        Ok(())
    }

    /// [`encode_eval`](Self::encode_eval) into an encoder of its own, which is submitted; does not wait.
    ///
    /// # Errors
    /// As [`encode_eval`](Self::encode_eval); also [`Error::Gpu`] from the submission.
    pub fn eval(&mut self) -> Result<()> {
        self.submit_exchange(Self::encode_eval)
    }

    /// [`encode_train`](Self::encode_train) into an encoder of its own, which is submitted; does not wait.
    ///
    /// # Errors
    /// As [`encode_train`](Self::encode_train); also [`Error::Gpu`] from the submission.
    pub fn train(&mut self) -> Result<()> {
        self.submit_exchange(Self::encode_train)
    }

    /// What lies in the parameters, once that is submitted which is recorded.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.evaluating.is_some() { Mode::Evaluate } else { Mode::Train }
    }

    /// Whether parameters are those that are trained, as this needs.
    pub(crate) fn needs_trained(&self, what: &'static str) -> Result<()> {
        match self.mode() {
            Mode::Train => Ok(()),
            Mode::Evaluate => Err(Error::Evaluating { what }),
        }
    }

    fn submit_exchange(
        &mut self,
        encode: impl FnOnce(&mut Self, &mut CommandEncoder) -> Result<()>,
    ) -> Result<()> {
        let gpu = self.gpu.clone();
        gpu.checked("exchange of parameters", || {
            let label = Some("fallline exchange");
            let descriptor = wgpu::CommandEncoderDescriptor { label };
            let mut encoder = gpu.device().create_command_encoder(&descriptor);
            encode(self, &mut encoder)?;
            gpu.queue().submit([encoder.finish()]);
            Ok(())
        })??;
        self.gpu.check_lost()
    }

    fn record_exchange(&self, encoder: &mut CommandEncoder, exchange: &Evaluating) -> Result<()> {
        let mut input =
            Step::new().input(&self.groups, self.infos.iter().map(|info| info.group))?;
        input.absent.extend(self.gone());
        let written = self.control.inputs.write(&self.gpu, &input, &self.control.constants, &[])?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline exchange"),
            timestamp_writes: None,
        });
        exchange.record(&mut pass, &written);
        pass.on_submitted_work_done(move || drop(written.entry));
        Ok(())
    }

    /// Whether a tensor's parameter may be evaluated elsewhere than where it is trained.
    pub(super) fn is_evaluated(&self, id: TensorId) -> bool {
        let segment = &self.layout.segments[self.layout.places[id.0].segment];
        segment.tiles > 0 && self.programs[segment.kernel].key.is_evaluated()
    }

    /// Copies a parameter that may be evaluated elsewhere, and exchanges the copy: the buffer, and where in it the
    /// copy begins. By the kernel of [`encode_eval`](Self::encode_eval), so that they have the same bits.
    pub(super) fn copy_evaluated(&self, id: TensorId) -> Result<(Buffer, u64)> {
        let (gpu, info, place) = (&self.gpu, &self.infos[id.0], &self.layout.places[id.0]);
        let programs = self.exchange_programs(true);
        let update_inputs = UpdateInputs { programs: &programs, ..self.update_inputs() };
        // From where a window may begin.
        let unit = programs[self.layout.segments[place.segment].kernel].window_tiles();
        let first = place.first_tile / unit * unit;
        let tiles = first..place.first_tile + place.tiles;
        let tile_bytes = TILE_ELEMS * info.spec.dtype.size_bytes();
        let size = u64::from(tiles.end - first) * tile_bytes;
        let copy = gpu.buffer("fallline evaluated copy", size, OWNED)?;
        let kept = gpu.buffer("fallline kept copy", size, BufferUsages::STORAGE)?;
        let offset = u64::from(place.first_tile - first) * tile_bytes;
        let exchange = match &self.lies {
            Lies::Arena { .. } => {
                let mut dispatches = Staged::default();
                let span = Span { segment: place.segment, tiles, param: &copy, grad: &kept };
                update::arena_span(update_inputs, &span, &mut dispatches)?;
                Dispatches::Arena(dispatches)
            }
            Lies::Borrowed(borrowed) => {
                let stays = |placed: &Placed| Placed { grad: None, ..placed.clone() };
                let mut placed: Vec<_> = borrowed.places.iter().map(stays).collect();
                let range = |buffer| BufferRange::new(buffer, offset, info.len_elems);
                placed[id.0] = Placed { param: range(&copy), grad: Some(range(&kept)) };
                let fixed = borrowed.exchange(update_inputs, &self.infos, &placed)?;
                Dispatches::Borrowed(fixed)
            }
        };
        let exchange = Evaluating { records: self.control.evaluated(gpu)?, exchange };
        let param = self.param(id)?;
        gpu.checked("evaluated copy", || {
            let label = Some("fallline evaluated copy");
            let descriptor = wgpu::CommandEncoderDescriptor { label };
            let mut encoder = gpu.device().create_command_encoder(&descriptor);
            let (from, size) = (param.buffer(), param.size());
            encoder.copy_buffer_to_buffer(from, param.offset(), &copy, offset, size);
            self.record_exchange(&mut encoder, &exchange)?;
            gpu.queue().submit([encoder.finish()]);
            Ok::<(), Error>(())
        })??;
        Ok((copy, offset))
    }

    /// The programs of exchanges, by kernel.
    fn exchange_programs(&self, to_evaluate: bool) -> Vec<Program> {
        let exchange = |program: &Program| Program {
            key: program.key.exchange(to_evaluate),
            formats: Formats { grad: program.formats.param, ..program.formats },
            ..program.clone()
        };
        self.programs.iter().map(exchange).collect()
    }

    /// There and back, over the places of now.
    fn exchanges(&self) -> Result<(Dispatches, Dispatches)> {
        let kept = self.kept_params()?;
        let dispatches = |programs: Vec<Program>| {
            let update_inputs = UpdateInputs { programs: &programs, ..self.update_inputs() };
            match &self.lies {
                Lies::Arena { .. } => {
                    let with_kept = |(memory, kept): (&SegmentBuffers, &Option<Buffer>)| {
                        let owned = memory.owned.clone().zip(kept.clone());
                        SegmentBuffers {
                            owned: owned.map(|((param, _), kept)| (param, kept)),
                            state: memory.state.clone(),
                            master: memory.master.clone(),
                        }
                    };
                    let memory: Vec<_> = self.memory.iter().zip(&kept).map(with_kept).collect();
                    let update_inputs = UpdateInputs { memory: &memory, ..update_inputs };
                    update::arena(update_inputs).map(Dispatches::Arena)
                }
                Lies::Borrowed(borrowed) => {
                    let range = |(index, info): (usize, &super::Info)| {
                        let place = &self.layout.places[index];
                        let buffer = kept[place.segment].as_ref()?;
                        let tile_bytes = TILE_ELEMS * info.spec.dtype.size_bytes();
                        let offset = u64::from(place.first_tile) * tile_bytes;
                        Some(BufferRange::new(buffer, offset, info.len_elems))
                    };
                    let ranges = self.infos.iter().enumerate().map(range);
                    let placed = borrowed.places.iter().zip(ranges);
                    let placed = placed.map(|(Placed { param, .. }, kept)| Placed {
                        param: param.clone(),
                        grad: kept,
                    });
                    let placed: Vec<_> = placed.collect();
                    let fixed = borrowed.exchange(update_inputs, &self.infos, &placed)?;
                    Ok(Dispatches::Borrowed(fixed))
                }
            }
        };
        let [to, back] = [true, false].map(|to_evaluate| self.exchange_programs(to_evaluate));
        Ok((dispatches(to)?, dispatches(back)?))
    }

    /// Room for the parameters of each segment that are evaluated elsewhere.
    fn kept_params(&self) -> Result<Vec<Option<Buffer>>> {
        let of_segment = |segment: &crate::layout::Segment| {
            let program = &self.programs[segment.kernel];
            if segment.tiles == 0 || !program.key.is_evaluated() {
                return Ok(None);
            }
            let tile_bytes = TILE_ELEMS * program.formats.param.size_bytes();
            let size = u64::from(segment.tiles) * tile_bytes;
            self.gpu.buffer("fallline kept parameters", size, BufferUsages::STORAGE).map(Some)
        };
        self.layout.segments.iter().map(of_segment).collect()
    }
}

impl Evaluating {
    fn record(&self, pass: &mut ComputePass<'_>, written: &Written) {
        for dispatch in &self.records {
            dispatch.record(pass, &[written.input, written.absent, written.groups]);
        }
        self.exchange.record(pass, written.hypers);
    }
}
