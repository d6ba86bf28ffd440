//! The step as data: see [`plan`](crate::plan).

use std::mem::offset_of;

use wgpu::BufferUsages;

use super::{Info, Lies, Optimizer, SlotPlace, Step};
use crate::{
    Error, Result, StateFormat, TensorId, abi,
    plan::{
        Buffer, Contents, Group, Hyperparameter, Inputs, Plan, Recorder, Reports, Role, Slot,
        StepInput, Tensor, Tiles,
    },
    ring::ENTRIES,
    transfer,
};

impl Optimizer {
    /// What another WebGPU needs to take the steps that this optimizer would take from here on: kernels, buffers with what
    /// they hold by now, bind groups, the pass, and what the host writes for each step. See [`plan`](crate::plan).
    ///
    /// The steps are those that are not [monitored](crate::Monitor), of an optimizer that owns its parameters and
    /// gradients. Its limits are those of [`gpu`](Self::gpu).
    ///
    /// # Errors
    /// [`Error::PlanOfBorrowed`]; while parameters are [evaluated](Self::encode_eval), [`Error::Evaluating`];
    /// [`Error::TooManyUnsubmittedSteps`], [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub async fn fetch_plan(&self) -> Result<Plan> {
        self.needs_trained("a plan")?;
        if let Lies::Borrowed(_) = self.lies {
            return Err(Error::PlanOfBorrowed);
        }
        let inputs = &self.control.inputs;
        let written = inputs.take(&self.gpu, false, false)?;
        let (buffer, entry_bytes) = (inputs.buffer().clone(), inputs.entry_bytes());
        let first = written.input;
        let mut recorder = Recorder::new(&self.gpu, Inputs { buffer, entry_bytes, first });
        let offsets = Offsets {
            rates: number(size_of::<abi::StepInput>()),
            without_grad: written.absent - first,
            groups: written.groups - first,
            hypers: written.hypers - first,
        };
        if self.has_work() {
            drop(self.record(&mut recorder, written));
        }
        let step_input = self.step_input(&mut recorder, offsets)?;
        let groups = self.groups.iter().enumerate().map(|(i, _)| self.group(i, offsets)).collect();
        let ids = self.tensors().map(|(id, _)| id);
        let tensors: Result<_> = ids.map(|id| self.tensor(&mut recorder, id)).collect();
        let (tensors, reports) = (tensors?, self.planned_reports(&mut recorder));
        let buffers = self.buffers(&recorder).await?;
        let Recorder { kernels, bind_groups, pass, .. } = recorder;
        let kernels = kernels.things.into_iter().map(|(_, kernel)| kernel).collect();
        let bind_groups = bind_groups.things.into_iter().map(|(_, group)| group).collect();
        Ok(Plan { kernels, buffers, bind_groups, pass, step_input, groups, tensors, reports })
    }

    fn step_input(&self, recorder: &mut Recorder, offsets: Offsets) -> Result<StepInput> {
        let inputs = &self.control.inputs;
        let input = self.input(&Step::new(), 0)?;
        Ok(StepInput {
            buffer: recorder.buffer(inputs.buffer()),
            entries: ENTRIES,
            entry_size: inputs.entry_bytes(),
            bytes: inputs.bytes(&input, &self.control.constants, &[]),
            grad_factor: number(offset_of!(abi::StepInput, grad_factor)),
            zero_grads: number(offset_of!(abi::StepInput, zero_grads)),
            keep_loss_scale: number(offset_of!(abi::StepInput, keep_loss_scale)),
            reported: number(offset_of!(abi::StepInput, reported)),
            rates: offsets.rates,
            without_grad: offsets.without_grad,
        })
    }

    fn group(&self, index: usize, offsets: Offsets) -> Group {
        let group = &self.groups[index];
        let word = |first: u32| {
            move |(number, (name, value)): (u32, (&'static str, f64))| Hyperparameter {
                name,
                offset: first + 4 * number,
                value,
            }
        };
        let record = offsets.groups + number(index * size_of::<abi::Group>());
        let of_steps = record + number(offset_of!(abi::Group, step_hyper));
        let of_elements = offsets.hypers + number(self.rules.hyper_offset(index));
        let of_steps = (0u32..).zip(group.rule.step_hyper()).map(word(of_steps));
        let of_elements = (0u32..).zip(group.rule.hyper()).map(word(of_elements));
        Group {
            name: group.name.clone(),
            rule: group.rule.name(),
            lr: group.lr(),
            hyperparameters: of_steps.chain(of_elements).collect(),
        }
    }

    fn tensor(&self, recorder: &mut Recorder, id: TensorId) -> Result<Tensor> {
        let Info { spec, group, slots, len_elems, .. } = self.info(id)?;
        let (param, grad) = (self.param(id)?, self.grad(id)?);
        let mut slice = |slice: wgpu::BufferSlice<'_>| {
            recorder.range(slice.buffer(), slice.offset(), slice.size())
        };
        let (param, grad) = (slice(param), slice(grad));
        let master_bytes = len_elems * spec.precision.size_bytes();
        let master = self.master(id);
        let master = master.map(|(buffer, offset)| recorder.range(buffer, offset, master_bytes));
        let slot = |(number, slot): (usize, &crate::Slot)| {
            let (format, range, tiles) = match self.slot_place(id.0, number)? {
                SlotPlace::Flat { buffer, offset } => {
                    let size = 4 * slot.len_elems(spec);
                    (StateFormat::F32, recorder.range(buffer, offset, size), None)
                }
                SlotPlace::Tiles(place) => {
                    let bytes = |bytes: usize| bytes as u64;
                    let lie = place.tiles;
                    // Up to the last tile's last byte, if there is any.
                    let size =
                        (place.size_bytes + bytes(lie.bytes)).saturating_sub(bytes(lie.stride));
                    let range = recorder.range(place.buffer, place.offset + bytes(lie.first), size);
                    let tiles = Tiles { size: bytes(lie.bytes), stride: bytes(lie.stride) };
                    (place.format, range, Some(tiles))
                }
            };
            let (name, signed, shape) = (slot.name, slot.signed, slot.dims(&spec.shape));
            Some(Slot { name, signed, shape, format, range, tiles })
        };
        Ok(Tensor {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            group: *group,
            number: id.0,
            dtype: spec.dtype,
            param,
            grad_dtype: spec.grad_dtype,
            grad,
            precision: spec.precision,
            master,
            state: slots.iter().enumerate().filter_map(slot).collect(),
        })
    }

    fn planned_reports(&self, recorder: &mut Recorder) -> Reports {
        let scaler = self.control.measure().map(|measure| measure.scaler().buffer());
        Reports {
            steps: recorder.buffer(&self.control.steps),
            decision: recorder.buffer(self.control.decision()),
            step: number(offset_of!(abi::Decision, step)),
            skipped: number(offset_of!(abi::Decision, skipped)),
            skipped_total: number(offset_of!(abi::Decision, skipped_total)),
            loss_scale: number(offset_of!(abi::Decision, loss_scale)),
            not_finite: number(offset_of!(abi::Decision, not_finite)),
            first_step: number(offset_of!(abi::Decision, first_step)),
            first_tensor: number(offset_of!(abi::Decision, first_tensor)),
            norms: number(size_of::<abi::Decision>()),
            scaler: scaler.map(|scaler| recorder.buffer(scaler)),
        }
    }

    /// The buffers of a plan, with what they hold by now.
    async fn buffers(&self, recorder: &Recorder) -> Result<Vec<Buffer>> {
        let mut planned = Vec::new();
        for (index, (buffer, ())) in recorder.buffers.things.iter().enumerate() {
            let role = self.role(buffer).unwrap_or_else(|| match recorder.is_written(index) {
                true => Role::Scratch,
                false => Role::Table,
            });
            let mut bytes = transfer::fetch(&self.gpu, buffer, 0, buffer.size()).await?;
            if role == Role::StepInput {
                // What other steps have left in their entries.
                bytes[..self.control.inputs.first_places() as usize].fill(0);
            }
            let usage = buffer.usage() | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
            let contents = contents(&bytes);
            planned.push(Buffer { role, size: buffer.size(), usage: usage.bits(), contents });
        }
        Ok(planned)
    }

    /// What lies in a buffer, if that is more than one dispatch's business.
    fn role(&self, buffer: &wgpu::Buffer) -> Option<Role> {
        let control = &self.control;
        for segment in &self.memory {
            let owned = segment.owned.as_ref();
            for (held, role) in [
                (owned.map(|(param, _)| param), Role::Param),
                (owned.map(|(_, grad)| grad), Role::Grad),
                (segment.state.as_ref().map(|(state, _)| state), Role::State),
                (segment.master.as_ref(), Role::Master),
            ] {
                if held == Some(buffer) {
                    return Some(role);
                }
            }
        }
        let scaler = control.measure().map(|measure| measure.scaler().buffer());
        let roles = [
            (control.reduce.for_elements().1, Role::Vectors),
            (Some(&control.kept), Role::Scalars),
            (Some(&control.steps), Role::Steps),
            (Some(control.decision()), Role::Decision),
            (scaler, Role::LossScale),
            (Some(control.inputs.buffer()), Role::StepInput),
        ];
        roles.into_iter().find(|(held, _)| *held == Some(buffer)).map(|(_, role)| role)
    }
}

/// Where parts of a step's input begin in its entry.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    rates: u32,
    without_grad: u32,
    groups: u32,
    hypers: u32,
}

/// What of a buffer is not zero, in whole words.
fn contents(bytes: &[u8]) -> Option<Contents> {
    let first = bytes.iter().position(|byte| *byte != 0)? / 4 * 4;
    let last = bytes.iter().rposition(|byte| *byte != 0)?;
    let end = (last + 1).next_multiple_of(4);
    Some(Contents { offset: first as u64, bytes: bytes[first..end].to_vec() })
}

/// An offset in an entry, which a binding's 32 bits hold.
fn number(bytes: usize) -> u32 {
    crate::fits::fits(bytes, "an entry is within 32 bits")
}
