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
    transfer::{self, OWNED},
    update::{self, Span, Staged, UpdateInputs},
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

impl Mode {
    /// As it is saved.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// While parameters are those to be evaluated: the way back.
#[derive(Debug)]
pub(super) struct Evaluating {
    exchange: Exchange,
    /// The parameters as they are trained, in the order of the layout's segments.
    kept: Vec<Option<Buffer>>,
}

/// The dispatches of an exchange, and those that write records for it.
#[derive(Debug)]
struct Exchange {
    records: Vec<Dispatch>,
    dispatches: Dispatches,
}

/// What the mode is on the GPU, when all is done that was submitted: this, as a word.
const EVALUATES: u32 = 1;

impl Optimizer {
    /// Records that averages take the place of their parameters, each rounded to the nearest of its parameter's format,
    /// until [`encode_train`](Self::encode_train) puts these back, to the bit in any format and precision: meanwhile they are
    /// kept beside, in as many bytes. Averages, state and master copies stay where they are.
    ///
    /// Parameters of a rule that [says where](crate::Rule::evaluates) it evaluates them, and that have no average, are what it
    /// says. Others stay, as do those that have taken no step, or none that was averaged. Where none is evaluated elsewhere,
    /// nothing is recorded. Once more changes nothing.
    ///
    /// Steps, loading, and whatever else needs the parameters as they are trained are refused until then
    /// ([`Error::Evaluating`]); what runs write into parameters meanwhile is lost. What is saved meanwhile are the parameters
    /// as they are trained, and the mode. The encoder must be submitted before the one that `encode_train` records into.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::TooManyUnsubmittedSteps`]. Nothing is recorded then.
    pub fn encode_eval(&mut self, encoder: &mut CommandEncoder) -> Result<()> {
        if self.mode() == Mode::Evaluate {
            return Ok(());
        }
        let kept = self.kept_params()?;
        let [there, back] = [self.exchange_with(&kept, true)?, self.exchange_with(&kept, false)?];
        if there.dispatches.len() > 0 {
            let copy_src = BufferUsages::COPY_SRC;
            let word = self.gpu.filled("fallline evaluates", copy_src, &[EVALUATES])?;
            self.record_exchange(encoder, &there)?;
            encoder.copy_buffer_to_buffer(&word, 0, &self.mode_word, 0, word.size());
        }
        self.evaluating = Some(Evaluating { exchange: back, kept });
        Ok(())
    }

    /// Records that parameters are again what they were before [`encode_eval`](Self::encode_eval). Once more changes nothing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::TooManyUnsubmittedSteps`]. Nothing is recorded then.
    pub fn encode_train(&mut self, encoder: &mut CommandEncoder) -> Result<()> {
        if let Some(Evaluating { exchange: back, .. }) = &self.evaluating
            && back.dispatches.len() > 0
        {
            self.record_exchange(encoder, back)?;
            encoder.clear_buffer(&self.mode_word, 0, None);
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

    /// The mode as of what was submitted; and in the mode to evaluate, for each tensor in whose place something else
    /// lies, where its parameter is kept as it is trained.
    pub(crate) async fn fetch_mode(&self) -> Result<(Mode, Vec<Option<(Buffer, u64)>>)> {
        let nowhere = vec![None; self.infos.len()];
        let words: Vec<u32> = transfer::fetch(&self.gpu, &self.mode_word, 0, 1).await?;
        let is_exchanged = words == [EVALUATES];
        let Some(Evaluating { exchange, kept }) = &self.evaluating else {
            return match is_exchanged {
                true => Err(Error::NotSubmitted { what: "saving", recorded: "encode_train" }),
                false => Ok((Mode::Train, nowhere)),
            };
        };
        if exchange.dispatches.len() == 0 {
            return Ok((Mode::Evaluate, nowhere));
        }
        if !is_exchanged {
            return Ok((Mode::Train, nowhere));
        }
        let steps = self.fetch_steps().await?;
        let place_of = |(index, step): (usize, u32)| {
            let (info, place) = (&self.infos[index], &self.layout.places[index]);
            // As *advance* tells them.
            let is_evaluated = step >= self.control.constants.groups[info.group].average_start;
            let buffer = kept[place.segment].as_ref().filter(|_| is_evaluated)?;
            let tile_bytes = TILE_ELEMS * info.spec.dtype.size_bytes();
            Some((buffer.clone(), u64::from(place.first_tile) * tile_bytes))
        };
        Ok((Mode::Evaluate, steps.into_iter().enumerate().map(place_of).collect()))
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

    fn record_exchange(&self, encoder: &mut CommandEncoder, exchange: &Exchange) -> Result<()> {
        let mut input = Step::new().input(&self.groups, self.per_step.groups.iter().copied())?;
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
        let dispatches = match &self.lies {
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
        let exchange = Exchange { records: self.control.evaluated(gpu)?, dispatches };
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

    /// The exchange with what is kept, over the places of now.
    fn exchange_with(&self, kept: &[Option<Buffer>], to_evaluate: bool) -> Result<Exchange> {
        let programs = self.exchange_programs(to_evaluate);
        let update_inputs = UpdateInputs { programs: &programs, ..self.update_inputs() };
        let dispatches = match &self.lies {
            Lies::Arena { .. } => {
                let mut dispatches = Staged::default();
                for (segment, (memory, kept)) in self.memory.iter().zip(kept).enumerate() {
                    if let (Some((param, _)), Some(grad)) = (&memory.owned, kept) {
                        let tiles = 0..self.layout.segments[segment].tiles;
                        let span = Span { segment, tiles, param, grad };
                        update::arena_span(update_inputs, &span, &mut dispatches)?;
                    }
                }
                Dispatches::Arena(dispatches)
            }
            Lies::Borrowed(borrowed) => {
                let placed = |(index, Placed { param, .. }): (usize, &Placed)| {
                    let (info, place) = (&self.infos[index], &self.layout.places[index]);
                    let tile_bytes = TILE_ELEMS * info.spec.dtype.size_bytes();
                    let offset = u64::from(place.first_tile) * tile_bytes;
                    let range = |buffer| BufferRange::new(buffer, offset, info.len_elems);
                    let grad = kept[place.segment].as_ref().map(range);
                    Placed { param: param.clone(), grad }
                };
                let placed: Vec<_> = borrowed.places.iter().enumerate().map(placed).collect();
                let fixed = borrowed.exchange(update_inputs, &self.infos, &placed)?;
                Dispatches::Borrowed(fixed)
            }
        };
        Ok(Exchange { records: self.control.evaluated(&self.gpu)?, dispatches })
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
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            self.gpu.buffer("fallline kept parameters", size, usage).map(Some)
        };
        self.layout.segments.iter().map(of_segment).collect()
    }
}

impl Exchange {
    fn record(&self, pass: &mut ComputePass<'_>, written: &Written) {
        for dispatch in &self.records {
            dispatch.record(pass, &[written.input, written.absent, written.groups]);
        }
        self.dispatches.record(pass, written.hypers);
    }
}
