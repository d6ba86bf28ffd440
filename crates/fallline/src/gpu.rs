//! The device: opened here or the caller's, and its errors as values.

use std::sync::Arc;

use wgpu::{AdapterInfo, Buffer, BufferUsages, Features, Limits};

use crate::{
    Error, GpuOptions, Result, adapters,
    caught::{caught, caught_in},
    kernel::KernelCache,
    late::{Answer, Late},
    lost::Liveness,
    wait::Callback,
};

/// How many vec4s of each role a lane of an update takes. The bits that come out are the same; which is faster, a device
/// must be asked: `fallline bench --lane-vec4s 1,2` times both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LaneVec4s {
    /// In about half the registers: for GPUs that have so few that kernels spill, as Mali's with 64 a lane do.
    One,
    /// Half as many lanes look for their tensor's record.
    #[default]
    Two,
}

impl LaneVec4s {
    /// As a number.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// A device, its queue, and what the engine knows about them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: Limits,
    rounds_on_bits: bool,
    lane_vec4s: LaneVec4s,
    liveness: Liveness,
    pub(crate) kernels: Arc<KernelCache>,
    late: Arc<Late>,
    /// What clones share. (wgpu's own comparison takes devices of two instances for the same.) The last field: it goes
    /// when the others are gone.
    identity: Arc<Last>,
}

/// The last handles that the engine has: where they are the last of all, wgpu waits for the queue, and panics if the
/// driver cannot.
#[derive(Debug)]
struct Last(Option<wgpu::Queue>, Option<wgpu::Device>);

impl Drop for Last {
    fn drop(&mut self) {
        let Self(queue, device) = self;
        // Nobody is left to be told.
        let _ = caught("queue", || drop(queue.take()));
        let _ = caught("device", || drop(device.take()));
    }
}

impl Gpu {
    /// Opens an adapter with the limits that it has and, if it has them, timestamp queries.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if no adapter fits, [`Error::NoDevice`] if it gives no device.
    pub async fn request(options: &GpuOptions) -> Result<Self> {
        let adapter = adapters::find(options).await?;
        let name = adapter.get_info().name;
        let limits = options.limits.clone().unwrap_or_else(|| adapter.limits());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("fallline device"),
            required_features: adapter.features() & Features::TIMESTAMP_QUERY,
            required_limits: limits,
            ..Default::default()
        };
        let device = async { adapter.request_device(&descriptor).await };
        let (device, queue) = caught_in("device", device)
            .await?
            .map_err(|reason| Error::NoDevice { adapter: name, reason })?;
        Self::from_device(device, queue)
    }

    /// A device with these limits that computes nothing and needs no GPU: optimizers can be built on it, and their
    /// [plans](crate::plan) are those of any device with such limits. `Limits::default()` are those that every WebGPU
    /// has.
    ///
    /// Its buffers lie in the host's memory.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] if the kernels need more.
    #[cfg(feature = "noop")]
    pub fn noop(limits: &Limits) -> Result<Self> {
        check_limits(limits)?;
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor {
            label: Some("fallline device without a GPU"),
            required_limits: limits.clone(),
            ..Default::default()
        });
        Self::from_device(device, queue)
    }

    /// Takes a device of the caller's with its own queue; no error handler or device-lost callback of
    /// theirs is touched. (That the queue is the device's cannot be checked: wgpu reports a wrong one
    /// to the queue's device, which panics by default.)
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device is lost already (in a browser a later call reports it),
    /// [`Error::DeviceLimit`] if it has less than the kernels need.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let limits = device.limits();
        check_limits(&limits)?;
        let late = Arc::<Late>::default();
        let liveness = caught("device", || Liveness::new(&device, &late))??;
        let identity = Arc::new(Last(Some(queue.clone()), Some(device.clone())));
        let gpu = Self {
            device,
            queue,
            limits,
            rounds_on_bits: false,
            lane_vec4s: LaneVec4s::default(),
            liveness,
            kernels: Arc::default(),
            late,
            identity,
        };
        gpu.check_lost()?;
        Ok(gpu)
    }

    /// Whether both are clones of one, and so of one device.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }

    /// Treats the device as if it had no more than these limits, to leave room or to test.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] if less is left than the kernels need.
    pub fn restrict_limits(mut self, limits: &Limits) -> Result<Self> {
        let restricted = self.limits.or_worse_values_from(limits);
        check_limits(&restricted)?;
        self.limits = restricted;
        self.kernels = Arc::default();
        Ok(self)
    }

    /// Rounds to f16 and to fp8 by integers, on a device that does not round sums to the nearest f32 and ties to the even
    /// one: where `fallline check` fails `arithmetic/addition`, `conversions/f16_rounding` or `conversions/e4m3_rounding`.
    /// On any other the bits are the same, and steps with f16 parameters or fp8 state take more instructions.
    #[must_use]
    pub fn round_on_bits(mut self) -> Self {
        self.rounds_on_bits = true;
        self.kernels = Arc::default();
        self
    }

    /// Whether it does.
    pub(crate) fn rounds_on_bits(&self) -> bool {
        self.rounds_on_bits
    }

    /// A clone; what is built on it takes so many vec4s a lane.
    #[must_use]
    pub fn with_lane_vec4s(&self, lane_vec4s: LaneVec4s) -> Self {
        Self { lane_vec4s, ..self.clone() }
    }

    /// How many vec4s a lane of an update takes.
    #[must_use]
    pub fn lane_vec4s(&self) -> LaneVec4s {
        self.lane_vec4s
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// The limits that the engine keeps to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Name, driver and backend of the adapter.
    #[must_use]
    pub fn adapter_info(&self) -> AdapterInfo {
        self.device.adapter_info()
    }

    /// Waits until everything that was submitted is done, and reports the first error that came late.
    ///
    /// In a browser, errors arrive after the call that caused them has returned: they are kept, name that
    /// call, and come out here or instead of the next call.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]; what an earlier call caused.
    pub async fn settle(&self) -> Result<()> {
        let done = Callback::new(&self.device);
        let completer = done.completer();
        self.queue.on_submitted_work_done(move || completer(()));
        let done = done.await;
        self.late.settle().await?;
        self.check_lost()?;
        done
    }

    /// Whether the device still takes work. Nothing is mapped, submitted or waited for.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn check_lost(&self) -> Result<()> {
        self.liveness.check(|buffer| self.write("liveness", buffer, 0, &[0u32]))
    }

    /// Runs `call` so that whatever wgpu reports during it comes back as an error, not as a panic:
    /// error scopes work whoever owns the device's error handler. Where wgpu itself panics, as it does at some failures
    /// of drivers, that becomes an error too, of which the program's panic hook hears all the same.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], or [`Error::Gpu`] with what wgpu said; `what` names the work. In
    /// a browser that comes [later](Self::settle), and here what an earlier call caused: then this one is not made.
    pub fn checked<T>(&self, what: &str, call: impl FnOnce() -> T) -> Result<T> {
        self.late.arrived()?;
        let (value, answer) = self.scoped(what, call);
        self.late.take_or_keep(answer)?;
        value
    }

    /// As [`checked`](Self::checked), and waits for what wgpu reports.
    pub(crate) async fn answered<T>(&self, what: &str, call: impl FnOnce() -> T) -> Result<T> {
        self.late.arrived()?;
        let (value, answer) = self.scoped(what, call);
        answer.await.map_or(value, Err)
    }

    /// Why the mapping of a buffer failed: on a lost device every one does.
    pub(crate) fn refused(&self, what: &str, error: &impl std::error::Error) -> Error {
        let refused = || Error::Gpu { what: what.to_owned(), message: error.to_string() };
        self.check_lost().map_or_else(|lost| lost, |()| refused())
    }

    /// Runs `call` within error scopes; what they say comes when it comes.
    fn scoped<T>(&self, what: &str, call: impl FnOnce() -> T) -> (Result<T>, Answer) {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = caught(what, call);
        // Popped now, though in a browser the answers come later.
        let (validation, internal, memory) = (validation.pop(), internal.pop(), memory.pop());
        let what = what.to_owned();
        let answer = Box::pin(async move {
            let (validation, internal) = (validation.await, internal.await);
            if memory.await.is_some() {
                return Some(Error::OutOfMemory { what, size_bytes: None });
            }
            let error = internal.or(validation)?;
            Some(Error::Gpu { what, message: error.to_string() })
        });
        (value, answer)
    }

    /// Writes before the next submission. A lost device gives no memory for it.
    pub(crate) fn write<T: bytemuck::NoUninit>(
        &self,
        what: &str,
        buffer: &Buffer,
        offset: u64,
        values: &[T],
    ) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let Some(size) = wgpu::BufferSize::new(bytes.len() as u64) else { return Ok(()) };
        let written = self.checked(what, || {
            let view = self.queue.write_buffer_with(buffer, offset, size);
            view.map(|mut view| view.copy_from_slice(bytes))
        })?;
        written.ok_or(Error::DeviceLost)
    }

    /// Creates a buffer of these values: of one more, where there are none, since a kernel that declares
    /// an array must find room for an element.
    pub(crate) fn filled<T: bytemuck::NoUninit>(
        &self,
        label: &str,
        usage: BufferUsages,
        values: &[T],
    ) -> Result<Buffer> {
        let size = size_of_val(values).max(size_of::<T>()) as u64;
        let buffer = self.buffer(label, size, usage | BufferUsages::COPY_DST)?;
        self.write(label, &buffer, 0, values)?;
        Ok(buffer)
    }

    /// Creates a buffer of zeros of at least 16 bytes. What kernels bind may be copied from: a plan has the contents
    /// of all of it.
    pub(crate) fn buffer(&self, label: &str, size: u64, usage: BufferUsages) -> Result<Buffer> {
        let size = size.max(16).next_multiple_of(16);
        let is_bound = usage.intersects(BufferUsages::STORAGE | BufferUsages::UNIFORM);
        let usage = if is_bound { usage | BufferUsages::COPY_SRC } else { usage };
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let created = self.checked(label, || self.device.create_buffer(&descriptor));
        self.check_lost()?;
        created.map_err(|error| match error {
            Error::OutOfMemory { what, .. } => Error::OutOfMemory { what, size_bytes: Some(size) },
            other => other,
        })
    }
}

fn check_limits(limits: &Limits) -> Result<()> {
    let needed: [(&'static str, u64, u64); 7] = [
        (
            "max_storage_buffers_per_shader_stage",
            8,
            limits.max_storage_buffers_per_shader_stage.into(),
        ),
        ("max_bindings_per_bind_group", 10, limits.max_bindings_per_bind_group.into()),
        (
            "max_compute_invocations_per_workgroup",
            64,
            limits.max_compute_invocations_per_workgroup.into(),
        ),
        ("max_compute_workgroup_size_x", 64, limits.max_compute_workgroup_size_x.into()),
        // A window has at least 64 tiles, and a dispatch this number squared of workgroups.
        (
            "max_compute_workgroups_per_dimension",
            8,
            limits.max_compute_workgroups_per_dimension.into(),
        ),
        ("max_storage_buffer_binding_size", 1 << 17, limits.max_storage_buffer_binding_size),
        ("max_buffer_size", 1 << 16, limits.max_buffer_size),
    ];
    for (limit, expected, found) in needed {
        if found < expected {
            return Err(Error::DeviceLimit { limit, expected, found });
        }
    }
    Ok(())
}
