//! The speed of a plain copy: what the memory of a device gives to a kernel.

use anyhow::Result;
use fallline::{
    ComputeDispatch, ComputeKernel, Gpu,
    wgpu::{BufferUsages, ComputePass},
};

use crate::{
    compute::{self, Vec4Kernel},
    timing::{Timer, median},
};

/// Large enough not to stay in a cache for the most part.
const SIZE_BYTES: u64 = 64 << 20;

/// A kernel that copies one buffer into another.
#[derive(Debug)]
pub(crate) struct Copy {
    dispatch: ComputeDispatch,
    size_bytes: u64,
}

impl Copy {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        let limits = gpu.limits();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let size_bytes = SIZE_BYTES.min(most / 256 * 256);
        let source = ("fallline copy", include_str!("copy.wgsl"));
        let kernel =
            Vec4Kernel::new(gpu, source, &[], &[ComputeKernel::READ, ComputeKernel::WRITE])?;
        let dispatch = gpu.checked("the copy's buffers", || {
            let source = compute::buffer(gpu, "copy source", size_bytes, BufferUsages::STORAGE);
            let target = compute::buffer(gpu, "copy target", size_bytes, BufferUsages::STORAGE);
            let bound = [source.as_entire_binding(), target.as_entire_binding()];
            kernel.bind(&bound, size_bytes)
        })??;
        Ok(Self { dispatch, size_bytes })
    }

    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        self.dispatch.record(pass, &[]);
    }

    /// Bytes read and bytes written in this time, in GB/s.
    pub(crate) fn gb_per_s(&self, seconds: f64) -> f64 {
        2.0 * self.size_bytes as f64 / seconds / 1e9
    }

    /// Measures by itself: the median of some copies, after one that is not counted.
    pub(crate) fn measure(&self, timer: &Timer) -> Result<f64> {
        let copy = |pass: &mut ComputePass<'_>| {
            self.record(pass);
            Ok(())
        };
        timer.time(copy)?;
        let seconds = (0..9).map(|_| timer.time(copy)).collect::<Result<Vec<f64>>>()?;
        Ok(self.gb_per_s(median(&seconds)))
    }
}
