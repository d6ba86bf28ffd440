//! Which adapter a command uses.

use clap::{Args, ValueEnum};
use fallline::{Gpu, GpuOptions, wgpu::Backends};

/// The options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Use the adapter whose name contains NAME, in any case
    #[arg(long, global = true, value_name = "NAME")]
    adapter: Option<String>,

    /// Use an adapter of this backend
    #[arg(long, global = true, value_enum)]
    backend: Option<Backend>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    Vulkan,
    Metal,
    Dx12,
    Gl,
}

impl From<Backend> for Backends {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Vulkan => Backends::VULKAN,
            Backend::Metal => Backends::METAL,
            Backend::Dx12 => Backends::DX12,
            Backend::Gl => Backends::GL,
        }
    }
}

impl DeviceArgs {
    /// The options, with the environment where an argument is not given.
    pub(crate) fn options(&self) -> fallline::Result<GpuOptions> {
        let env = GpuOptions::from_env()?;
        Ok(GpuOptions {
            adapter_name: self.adapter.clone().or(env.adapter_name),
            backends: self.backend.map(Backends::from).or(env.backends),
            ..env
        })
    }

    /// Opens the device.
    pub(crate) fn open(&self) -> anyhow::Result<Gpu> {
        Ok(Gpu::open(&self.options()?)?)
    }
}

/// The adapter, as every JSON result names it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct AdapterReport {
    pub(crate) name: String,
    pub(crate) backend: String,
    pub(crate) driver: String,
}

impl AdapterReport {
    pub(crate) fn new(info: &fallline::wgpu::AdapterInfo) -> Self {
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        Self { name: info.name.clone(), backend: info.backend.to_string(), driver }
    }
}
