//! From groups and tensors to buffers and a plan.

use wgpu::BufferUsages;

use super::{
    Memory, Optimizer,
    parts::Parts,
    places::{borrowed_ground, borrowed_plan},
};
use crate::{
    BorrowedTensor, Error, Gpu, Group, Options, Result, TensorSpec,
    control::Control,
    layout::BLOCK_ELEMS,
    lend::Lending,
    plan::{Plan, SegmentBuffers, Site},
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
        let parts = Parts::new(gpu, groups, tensors, options)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            let formats = parts.programs[segment.kernel].formats;
            let owned = match segment.blocks {
                0 => None,
                blocks => {
                    let elems = u64::from(blocks) * BLOCK_ELEMS;
                    let (param, grad) = (formats.param.size_bytes(), formats.grad.size_bytes());
                    Some((
                        gpu.buffer("fallline parameters", elems * param, OWNED)?,
                        gpu.buffer("fallline gradients", elems * grad, OWNED)?,
                    ))
                }
            };
            memory.push(SegmentBuffers { owned, ..parts.home(gpu, segment)? });
        }
        let control =
            Control::new(gpu, groups, options, &parts.hypers, &parts.arena_ground(&memory))?;
        let plan = Plan::arena(parts.site(gpu, &memory, &control))?;
        parts.finish(gpu, groups, Memory { segments: memory, borrowed: None }, control, plan)
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
        let parts = Parts::new(gpu, groups, &specs, options)?;
        let lending = Lending::new(tensors)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            memory.push(parts.home(gpu, segment)?);
        }
        let ground = borrowed_ground(&parts.infos, &parts.layout, &lending);
        let control = Control::new(gpu, groups, options, &parts.hypers, &ground)?;
        let plan = borrowed_plan(parts.site(gpu, &memory, &control), &parts.infos, &lending)?;
        let memory = Memory { segments: memory, borrowed: Some(tensors.to_vec()) };
        let shared_grads = lending.shared_grads;
        Ok(Self { shared_grads, ..parts.finish(gpu, groups, memory, control, plan)? })
    }

    /// Takes parameters and gradients from other places from now on: for a runtime whose gradients lie
    /// elsewhere in every step. The state and the step counters stay, and steps that are recorded
    /// already keep the places that they were recorded with.
    ///
    /// Tables and bind groups are built anew; kernels are not.
    ///
    /// # Errors
    /// As [`borrowed`](Self::borrowed); [`Error::NotBorrowed`] for an arena, [`Error::OtherTensors`]
    /// if these are not the same tensors in the same order. The optimizer is then as before.
    pub fn rebind(&mut self, tensors: &[BorrowedTensor]) -> Result<()> {
        if self.memory.borrowed.is_none() {
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
        let lending = Lending::new(tensors)?;
        let ground = borrowed_ground(&self.infos, &self.layout, &lending);
        let control = self.control.rebound(&self.gpu, &self.groups, &ground)?;
        let site = Site { records: &control.records, ..self.site() };
        let plan = borrowed_plan(site, &self.infos, &lending)?;
        self.gpu.check_lost()?;
        self.control = control;
        self.plan = plan;
        self.shared_grads = lending.shared_grads;
        self.memory.borrowed = Some(tensors.to_vec());
        Ok(())
    }
}

pub(super) const OWNED: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);
