//! Adding up the gradients of micro-batches.

use wgpu::{Buffer, BufferUsages, CommandEncoder, ComputePass};

use super::{Optimizer, places::reach};
use crate::{
    BorrowedTensor, BufferRange, Dtype, Error, Gpu, Precision, Result, StateFormat, TensorSpec,
    abi::{self, Tensor},
    chunks::{self, Lent, LentTensor},
    control::Records,
    kernel::{KernelKey, MAX_HYPERS, Program},
    layout::{Item, Layout, Place},
    lease::{Lease, SLOTS, Slots},
    lend::Lending,
    options::check,
    plan::{Plan, SegmentBuffers, Site},
    rules::narrow,
};

/// The gradient of a tensor over one micro-batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroGrad {
    /// Its format.
    pub dtype: Dtype,
    /// Where it lies.
    pub range: BufferRange,
}

/// Adds gradients of a micro-batch to the optimizer's gradients; see [`Optimizer::accumulator`].
#[derive(Debug)]
pub struct Accumulator {
    gpu: Gpu,
    plan: Plan,
    hypers: Buffer,
    slots: Slots,
}

/// Bytes between the factors of two micro-batches: the largest offset alignment that WebGPU permits.
const SLOT_BYTES: u32 = 256;

impl Optimizer {
    /// What adds gradients of micro-batches to this optimizer's gradients:
    ///
    /// ```text
    /// grad ← grad + factor · micro_grad
    /// ```
    ///
    /// in one dispatch for each pair of formats and pair of buffers. The optimizer's gradients, in
    /// f32 or bf16, are the accumulators; those of micro-batches lie in buffers of the caller's, one
    /// for each tensor in order, in any format. An element that is not finite stays so, whatever is
    /// added, so that a step that looks for overflow sees it. The step divides by the number of
    /// micro-batches ([`Step::accumulated`](crate::Step::accumulated)) and begins anew
    /// ([`Step::zero_grads`](crate::Step::zero_grads)).
    ///
    /// The accumulator keeps the places of now, whatever is [rebound](Self::rebind) later.
    ///
    /// # Errors
    /// [`Error::GradCount`]; [`Error::AccumulatorFormat`] for a gradient in f16; and what is wrong
    /// with a range, as in [`borrowed`](Self::borrowed).
    pub fn accumulator(&self, micro: &[MicroGrad]) -> Result<Accumulator> {
        let gpu = &self.gpu;
        if micro.len() != self.infos.len() {
            return Err(Error::GradCount { expected: self.infos.len(), found: micro.len() });
        }
        let tensors = self.accumulated(micro)?;
        let lending = Lending::new(&tensors)?;

        let mut programs: Vec<Program> = Vec::new();
        let mut items = Vec::new();
        for tensor in &tensors {
            let formats = tensor.spec.formats(StateFormat::F32)?;
            let same = |program: &Program| program.formats == formats;
            let kernel = programs.iter().position(same).unwrap_or_else(|| {
                let (key, hypers) = (KernelKey::accumulate(), vec![abi::Hyper::default()]);
                programs.push(Program { key, formats, clip_value: false, hypers });
                programs.len() - 1
            });
            items.push(Item { kernel, len_elems: tensor.spec.len_elems()? });
        }
        // Nothing is kept, so a segment is no more than a kernel.
        let layout = Layout::new(&items, &vec![u32::MAX; programs.len()]).map_err(|error| {
            Error::ShapeOverflow {
                tensor: tensors[error.tensor].spec.name.clone(),
                shape: tensors[error.tensor].spec.shape.clone(),
            }
        })?;
        let none = || SegmentBuffers { owned: None, state: None, master: None };
        let memory: Vec<SegmentBuffers> = layout.segments.iter().map(|_| none()).collect();
        let lent = |((item, place), (param, grad)): ((&Item, &Place), &(Lent, Lent))| LentTensor {
            param: *param,
            grad: *grad,
            len_elems: item.len_elems,
            place: *place,
            home_bytes: 0,
            window_blocks: 1,
        };
        let lent: Vec<LentTensor> =
            items.iter().zip(&layout.places).zip(&lending.ranges).map(lent).collect();

        let records = Records::new(gpu, tensors.len())?;
        let contents: Vec<Tensor> = lent.iter().map(LentTensor::record).collect();
        gpu.write("fallline accumulated tensors", &records.buffer, 0, &contents)?;
        let hypers_size = (MAX_HYPERS * size_of::<abi::Hyper>()) as u64;
        let size = u64::from((SLOTS - 1) * SLOT_BYTES) + hypers_size;
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let hypers = gpu.buffer("fallline factors", size, usage)?;
        let site =
            Site { gpu, programs: &programs, layout: &layout, memory: &memory, records: &records };
        let dispatches = chunks::dispatches(&lent, reach(gpu));
        let of_programs = vec![hypers.clone(); programs.len()];
        let plan = Plan::borrowed_with(site, &lending.buffers, &dispatches, &of_programs)?;
        gpu.checked("tables", || gpu.queue().submit([]))?;
        gpu.check_lost()?;
        Ok(Accumulator { gpu: gpu.clone(), plan, hypers, slots: Slots::new() })
    }

    /// The gradients in the place of parameters, and those of the micro-batch as their gradients.
    fn accumulated(&self, micro: &[MicroGrad]) -> Result<Vec<BorrowedTensor>> {
        let tensor = |(index, micro): (usize, &MicroGrad)| {
            let info = &self.infos[index];
            let (name, dtype) = (info.spec.name.clone(), info.spec.grad_dtype);
            if dtype == Dtype::F16 {
                return Err(Error::AccumulatorFormat { tensor: name, found: dtype });
            }
            let grad = self.grad(crate::TensorId(index))?;
            Ok(BorrowedTensor {
                spec: TensorSpec {
                    dtype,
                    grad_dtype: micro.dtype,
                    precision: Precision::Nearest,
                    ..info.spec.clone()
                },
                param: BufferRange::new(grad.buffer(), grad.offset(), info.len_elems),
                grad: micro.range.clone(),
            })
        };
        micro.iter().enumerate().map(tensor).collect()
    }
}

impl Accumulator {
    /// Records `grad ← grad + factor · micro_grad` for every tensor.
    ///
    /// # Errors
    /// [`Error::Factor`] if the factor is not finite and at least 2^-126;
    /// [`Error::TooManyUnsubmittedSteps`], [`Error::OutOfMemory`].
    pub fn encode(&self, encoder: &mut CommandEncoder, factor: f64) -> Result<()> {
        let (offset, lease) = self.prepare(factor)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline accumulate"),
            timestamp_writes: None,
        });
        self.dispatch(&mut pass, offset, lease);
        Ok(())
    }

    /// As [`encode`](Self::encode), into a compute pass of the caller's.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn record(&self, pass: &mut ComputePass<'_>, factor: f64) -> Result<()> {
        let (offset, lease) = self.prepare(factor)?;
        self.dispatch(pass, offset, lease);
        Ok(())
    }

    /// How many dispatches a micro-batch takes.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.plan.len()
    }

    fn prepare(&self, factor: f64) -> Result<(u32, Lease)> {
        let ok = crate::options::positive(factor);
        check("the factor of a micro-batch".into(), "finite and >= 2^-126", factor, ok)?;
        let lease = self.slots.lease(&self.gpu)?;
        let offset = lease.slot * SLOT_BYTES;
        self.gpu.write("fallline factors", &self.hypers, offset.into(), &[narrow(factor)])?;
        Ok((offset, lease))
    }

    fn dispatch(&self, pass: &mut ComputePass<'_>, offset: u32, lease: Lease) {
        self.plan.record_at(pass, &[offset]);
        pass.on_submitted_work_done(move || drop(lease));
    }
}
