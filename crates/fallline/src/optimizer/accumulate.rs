//! Adding up the gradients of micro-batches.

use wgpu::{Buffer, BufferUsages, CommandEncoder, ComputePass};

use super::Optimizer;
use crate::{
    BufferRange, Dtype, Error, Gpu, Precision, Result,
    abi::Tensor,
    borrowed_buffers::{Buffers, Lending, ToLend},
    factors::{check, positive},
    formats::Formats,
    kernel::{HYPERS_BYTES, KernelKey, Program},
    layout::{Item, Layout, Place},
    limits,
    records::Records,
    ring::{ENTRIES, Entry, Ring},
    rules::narrow,
    tiles::{self, Extent, TileInputs},
    update::{Fixed, SegmentBuffers, UpdateInputs},
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
    dispatches: Fixed,
    hypers: Buffer,
    ring: Ring,
}

/// Bytes between the factors of two micro-batches: the largest offset alignment that WebGPU permits.
const ENTRY_BYTES: u32 = 256;

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
        let grads = self.accumulators()?;
        let to_lend =
            self.infos.iter().zip(&grads).zip(micro).map(|((info, grad), micro)| ToLend {
                name: &info.spec.name,
                len_elems: info.len_elems,
                dtype: info.spec.grad_dtype,
                grad_dtype: micro.dtype,
                param: grad,
                // What is given for a tensor that was taken out does not matter.
                grad: Some(if info.gone { grad } else { &micro.range }),
            });
        let mut buffers = Buffers::default();
        let lending = Lending::new(to_lend, &mut buffers, 0)?;

        let mut programs: Vec<Program> = Vec::new();
        let mut items = Vec::new();
        for (info, micro) in self.infos.iter().zip(micro) {
            let (param, grad) = (info.spec.grad_dtype, micro.dtype);
            let formats = Formats { param, grad, precision: Precision::Nearest, ..<_>::default() };
            let same = |program: &Program| program.formats == formats;
            let kernel = programs.iter().position(same).unwrap_or_else(|| {
                programs.push(Program::plain(KernelKey::accumulate(), formats));
                programs.len() - 1
            });
            items.push(Item { kernel, len_elems: info.len_elems });
        }
        // Nothing is kept, so a segment is no more than a kernel.
        let layout = Layout::new(&items, &vec![u32::MAX; programs.len()]).map_err(|error| {
            let spec = &self.infos[error.tensor].spec;
            Error::ShapeOverflow { tensor: spec.name.clone(), shape: spec.shape.clone() }
        })?;
        let none = || SegmentBuffers { owned: None, state: None, master: None };
        let memory: Vec<SegmentBuffers> = layout.segments.iter().map(|_| none()).collect();
        let extent = |(item, place): (&Item, &Place)| {
            let formats = programs[item.kernel].formats;
            Extent {
                len_elems: item.len_elems,
                elem_bytes: (formats.param.size_bytes(), formats.grad.size_bytes()),
                place: *place,
                state_or_master_bytes: 0,
                window_tiles: 1,
            }
        };
        let extents: Vec<Extent> = items.iter().zip(&layout.places).map(extent).collect();

        let records = Records::new(gpu, extents.len())?;
        let contents: Vec<Tensor> = extents.iter().map(Extent::record).collect();
        gpu.write("fallline accumulated tensors", &records.buffer, 0, &contents)?;
        let size = u64::from((ENTRIES - 1) * ENTRY_BYTES) + HYPERS_BYTES;
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let hypers = gpu.buffer("fallline factors", size, usage)?;
        let update_inputs = UpdateInputs {
            gpu,
            programs: &programs,
            layout: &layout,
            memory: &memory,
            records: &records,
            hypers: &hypers,
            sums: None,
            vectors: None,
            dummy: &self.dummy,
        };
        let (reach, segments) = (limits::reach(gpu), vec![0; layout.segments.len()]);
        let tile_inputs = TileInputs {
            extents: &extents,
            lent: &lending.tensors,
            buffers: &buffers.sizes,
            segments: &segments,
            reach,
        };
        let grouping = tiles::group(&tiles::pieces(&extents, reach), tile_inputs);
        let dispatches = Fixed::new(update_inputs, &buffers, &grouping)?;
        gpu.checked("tables", || gpu.queue().submit([]))?;
        gpu.check_lost()?;
        Ok(Accumulator { gpu: gpu.clone(), dispatches, hypers, ring: Ring::new() })
    }

    /// Where the gradients lie, which are added to.
    fn accumulators(&self) -> Result<Vec<BufferRange>> {
        let accumulator = |(index, info): (usize, &super::Info)| {
            let (name, dtype) = (info.spec.name.clone(), info.spec.grad_dtype);
            if dtype == Dtype::F16 {
                return Err(Error::AccumulatorFormat { tensor: name, found: dtype });
            }
            if info.gone {
                return Ok(BufferRange::new(&self.dummy, 0, 0));
            }
            let grad = self.grad(crate::TensorId(index))?;
            Ok(BufferRange::new(grad.buffer(), grad.offset(), info.len_elems))
        };
        self.infos.iter().enumerate().map(accumulator).collect()
    }
}

impl Accumulator {
    /// Records `grad ← grad + factor · micro_grad` for every tensor.
    ///
    /// # Errors
    /// [`Error::Factor`] if the factor is not finite and at least 2^-126;
    /// [`Error::TooManyUnsubmittedSteps`], [`Error::OutOfMemory`].
    pub fn encode(&self, encoder: &mut CommandEncoder, factor: f64) -> Result<()> {
        let (offset, entry) = self.prepare(factor)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline accumulate"),
            timestamp_writes: None,
        });
        self.dispatch(&mut pass, offset, entry);
        Ok(())
    }

    /// As [`encode`](Self::encode), into a compute pass of the caller's.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn record(&self, pass: &mut ComputePass<'_>, factor: f64) -> Result<()> {
        let (offset, entry) = self.prepare(factor)?;
        self.dispatch(pass, offset, entry);
        Ok(())
    }

    /// How many dispatches a micro-batch takes.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    fn prepare(&self, factor: f64) -> Result<(u32, Entry)> {
        let ok = positive(factor);
        check("the factor of a micro-batch".into(), "finite and >= 2^-126", factor, ok)?;
        let entry = self.ring.take(&self.gpu)?;
        let offset = entry.number * ENTRY_BYTES;
        let first = u64::from(offset) + size_of::<crate::abi::Hypers>() as u64;
        self.gpu.write("fallline factors", &self.hypers, first, &[narrow(factor)])?;
        Ok((offset, entry))
    }

    fn dispatch(&self, pass: &mut ComputePass<'_>, offset: u32, entry: Entry) {
        self.dispatches.record(pass, offset);
        pass.on_submitted_work_done(move || drop(entry));
    }
}
