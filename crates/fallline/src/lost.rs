//! Whether a device is lost.
//!
//! wgpu reports that through a callback. Natively there is one, which may be the caller's; but a lost
//! device also gives no memory for a write, which is asked for four bytes. In a browser writes never fail, but
//! any number may listen: a callback is one more, and replaces none.

pub(crate) use self::imp::Liveness;

#[cfg(not(target_family = "wasm"))]
mod imp {
    use wgpu::{Buffer, BufferUsages};

    use crate::{Error, Result, late::Late};

    /// What is written to.
    #[derive(Clone, Debug)]
    pub(crate) struct Liveness(Buffer);

    impl Liveness {
        pub(crate) fn new(device: &wgpu::Device, late: &Late) -> Result<Self> {
            let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("fallline liveness"),
                size: 4,
                usage: BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let popped = scope.pop();
            late.take_or_keep(Box::pin(async move {
                popped.await?;
                Some(Error::OutOfMemory { what: "device".into(), size_bytes: Some(4) })
            }))?;
            Ok(Self(buffer))
        }

        /// Writes, which a lost device has no memory for.
        pub(crate) fn check(&self, write: impl FnOnce(&Buffer) -> Result<()>) -> Result<()> {
            write(&self.0)
        }
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    use crate::{Error, Result, late::Late};

    /// What was heard.
    #[derive(Clone, Debug)]
    pub(crate) struct Liveness(Arc<AtomicBool>);

    impl Liveness {
        pub(crate) fn new(device: &wgpu::Device, _: &Late) -> Result<Self> {
            let lost = Arc::new(AtomicBool::new(false));
            let heard = Arc::clone(&lost);
            device.set_device_lost_callback(move |_, _| heard.store(true, Relaxed));
            Ok(Self(lost))
        }

        pub(crate) fn check(&self, _: impl FnOnce(&wgpu::Buffer) -> Result<()>) -> Result<()> {
            if self.0.load(Relaxed) { Err(Error::DeviceLost) } else { Ok(()) }
        }
    }
}
