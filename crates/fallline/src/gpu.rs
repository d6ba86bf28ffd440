//! The device: opened here or the caller's, and its errors as values.

use std::sync::Arc;

use wgpu::{Adapter, AdapterInfo, Backends, Buffer, BufferUsages, Features, Limits};

use crate::{Error, Result, kernel::KernelCache};

/// Which adapter to open, and with which limits.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// A part of the adapter's name, in any case; `None`: the one that wgpu prefers.
    pub adapter_name: Option<String>,
    /// The backends to look at; `None`: all.
    pub backends: Option<Backends>,
    /// The limits to ask for; `None`: all that the adapter has.
    pub limits: Option<Limits>,
}

impl GpuOptions {
    /// Reads wgpu's usual environment variables `WGPU_ADAPTER_NAME` and `WGPU_BACKEND`. (Those that
    /// concern the instance, such as `WGPU_DEBUG` and `WGPU_POWER_PREF`, hold in any case.)
    ///
    /// # Errors
    /// [`Error::UnknownBackend`] if `WGPU_BACKEND` names one that wgpu does not know.
    pub fn from_env() -> Result<Self> {
        let adapter_name = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|s| !s.is_empty());
        let names = std::env::var_os("WGPU_BACKEND").unwrap_or_default();
        Ok(Self { adapter_name, backends: backends_of(&names.to_string_lossy())?, limits: None })
    }
}

/// wgpu's names of backends, which have aliases.
const BACKENDS: &str = "vulkan, metal, dx12, gl, webgpu, noop";

/// The backends of a list with commas; `None` if it is empty. wgpu itself would leave out what it does
/// not know, and then look everywhere or nowhere.
fn backends_of(names: &str) -> Result<Option<Backends>> {
    let mut backends = Backends::empty();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let found = Backends::from_comma_list(name);
        if found.is_empty() {
            return Err(Error::UnknownBackend { found: name.into(), known: BACKENDS });
        }
        backends |= found;
    }
    Ok((!backends.is_empty()).then_some(backends))
}

/// A device, its queue, and what the engine knows about them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: Limits,
    liveness: Buffer,
    /// What clones share. (wgpu's own comparison takes devices of two instances for the same.)
    identity: Arc<()>,
    pub(crate) kernels: Arc<KernelCache>,
}

impl Gpu {
    /// Opens the adapter that the environment names, or the one that wgpu prefers.
    ///
    /// # Errors
    /// [`Error::UnknownBackend`], [`Error::NoAdapter`], [`Error::NoDevice`].
    pub fn from_env() -> Result<Self> {
        Self::open(&GpuOptions::from_env()?)
    }

    /// Opens an adapter with the limits that it has and, if it has them, timestamp queries.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if no adapter fits, [`Error::NoDevice`] if it gives no device.
    pub fn open(options: &GpuOptions) -> Result<Self> {
        let adapter = find_adapter(options)?;
        let name = adapter.get_info().name;
        let limits = options.limits.clone().unwrap_or_else(|| adapter.limits());
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("fallline device"),
            required_features: adapter.features() & Features::TIMESTAMP_QUERY,
            required_limits: limits,
            ..Default::default()
        }))
        .map_err(|reason| Error::NoDevice { adapter: name, reason })?;
        Self::from_device(device, queue)
    }

    /// Takes a device of the caller's with its own queue; no error handler or device-lost callback of
    /// theirs is touched. (That the queue is the device's cannot be checked: wgpu reports a wrong one
    /// to the queue's device, which panics by default.)
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device is lost already, [`Error::DeviceLimit`] if it has less
    /// than the kernels need.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let limits = device.limits();
        check_limits(&limits)?;
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let liveness = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("fallline liveness"),
            size: 4,
            usage: BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::OutOfMemory { what: "device".into(), size_bytes: Some(4) });
        }
        let (identity, kernels) = (Arc::default(), Arc::default());
        let gpu = Self { device, queue, limits, liveness, identity, kernels };
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

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn wait(&self) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check_lost()?;
        polled.map(|_| ()).map_err(|e| Error::Gpu { what: "wait".into(), message: e.to_string() })
    }

    /// Whether the device still takes work.
    ///
    /// wgpu tells of a lost device through one callback only, which may be the caller's. But a lost
    /// device also gives no memory for a write, which is asked here for four bytes: nothing is mapped,
    /// submitted or waited for.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn check_lost(&self) -> Result<()> {
        self.write("liveness", &self.liveness, 0, &[0u32])
    }

    /// Runs `call` so that whatever wgpu reports during it comes back as an error, not as a panic:
    /// error scopes work whoever owns the device's error handler.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Gpu`] with what wgpu said; `what` names the work.
    pub fn checked<T>(&self, what: &str, call: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = call();
        let validation = pollster::block_on(validation.pop());
        let internal = pollster::block_on(internal.pop());
        let memory = pollster::block_on(memory.pop());
        if memory.is_some() {
            return Err(Error::OutOfMemory { what: what.into(), size_bytes: None });
        }
        match internal.or(validation) {
            Some(error) => Err(Error::Gpu { what: what.into(), message: error.to_string() }),
            None => Ok(value),
        }
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

    /// Creates a buffer of zeros of at least 16 bytes.
    pub(crate) fn buffer(&self, label: &str, size: u64, usage: BufferUsages) -> Result<Buffer> {
        let size = size.max(16).next_multiple_of(16);
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
        // A window has at least 64 blocks, and a dispatch this number squared of workgroups.
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

/// Everything but GL, which is slower and speaks up on the terminal where there is no display.
const PREFERRED: Backends = Backends::all().difference(Backends::GL);

fn find_adapter(options: &GpuOptions) -> Result<Adapter> {
    let tries = match options.backends {
        Some(backends) => vec![backends],
        None => vec![PREFERRED, Backends::GL],
    };
    let found = tries.into_iter().find_map(|backends| match &options.adapter_name {
        None => pollster::block_on(
            instance(backends).request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::from_env()
                    .unwrap_or(wgpu::PowerPreference::HighPerformance),
                ..Default::default()
            }),
        )
        .ok(),
        Some(name) => adapters(backends)
            .into_iter()
            .find(|a| a.get_info().name.to_lowercase().contains(&name.to_lowercase())),
    });
    found.ok_or_else(|| no_adapter(options))
}

fn no_adapter(options: &GpuOptions) -> Error {
    let found: Vec<String> = adapters(Backends::all())
        .iter()
        .map(Adapter::get_info)
        .map(|info| format!("{} ({})", info.name, info.backend))
        .collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let name = options.adapter_name.as_ref().map(|n| format!(" named '{n}'"));
    let names = |backends: Backends| {
        backends.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join("|")
    };
    let backend = options.backends.map(|b| format!(" of backend {}", names(b)));
    let wanted = format!("{}{}", name.unwrap_or_default(), backend.unwrap_or_default());
    Error::NoAdapter { wanted, found }
}

/// All adapters of these backends.
#[must_use]
pub fn adapters(backends: Backends) -> Vec<Adapter> {
    pollster::block_on(instance(backends).enumerate_adapters(backends))
}

fn instance(backends: Backends) -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_that_do_not_exist_are_named() {
        let says = |names| backends_of(names).unwrap_err().to_string();
        for (names, found) in [("vulkn", "vulkn"), ("vulkan,foo", "foo"), ("Cuda , gl", "Cuda")] {
            let start = format!("WGPU_BACKEND names the backend '{found}', but the backends are ");
            assert!(says(names).starts_with(&start), "{}", says(names));
            assert!(says(names).contains("vulkan, metal, dx12, gl"), "{}", says(names));
        }
        for name in BACKENDS.split(", ") {
            assert!(backends_of(name).unwrap().is_some(), "{name}");
        }
        assert_eq!(backends_of("").unwrap(), None);
        assert_eq!(backends_of(" ,").unwrap(), None);
        assert_eq!(backends_of("VK, gl,").unwrap(), Some(Backends::VULKAN | Backends::GL));
    }
}
