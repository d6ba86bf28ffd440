//! Which adapter to open.

use wgpu::{Adapter, Backends, Limits};

use crate::{Error, Result, caught::caught_in};

/// Which adapter to open, and with which limits.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// A part of the adapter's name, in upper or lower case; `None`: the one that wgpu prefers.
    pub adapter_name: Option<String>,
    /// The backends to look at; `None`: all.
    pub backends: Option<Backends>,
    /// The limits to ask for; `None`: all that the adapter has.
    pub limits: Option<Limits>,
}

impl GpuOptions {
    /// Reads wgpu's usual environment variables `WGPU_ADAPTER_NAME` and `WGPU_BACKEND`. (Those that
    /// concern the instance, such as `WGPU_DEBUG` and `WGPU_POWER_PREF`, always hold.)
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

/// Everything but GL, which is slower and speaks up on the terminal where there is no display.
const PREFERRED: Backends = Backends::all().difference(Backends::GL);

/// The adapter that these options name.
pub(crate) async fn find(options: &GpuOptions) -> Result<Adapter> {
    let tries = match options.backends {
        Some(backends) => vec![backends],
        None => vec![PREFERRED, Backends::GL],
    };
    let mut refused = None;
    for backends in tries {
        let found = match &options.adapter_name {
            None => {
                let power_preference = wgpu::PowerPreference::from_env()
                    .unwrap_or(wgpu::PowerPreference::HighPerformance);
                let wanted = wgpu::RequestAdapterOptions { power_preference, ..<_>::default() };
                let found = caught_in("adapter", async {
                    instance(backends)?.request_adapter(&wanted).await.ok()
                });
                found.await.unwrap_or_else(|error| {
                    refused = Some(error);
                    None
                })
            }
            Some(name) => {
                let name = name.to_lowercase();
                let mut all = request_adapters(backends).await.into_iter();
                all.find(|adapter| adapter.get_info().name.to_lowercase().contains(&name))
            }
        };
        if let Some(adapter) = found {
            return Ok(adapter);
        }
    }
    Err(match refused {
        Some(error) => error,
        None => none(options).await,
    })
}

async fn none(options: &GpuOptions) -> Error {
    let found: Vec<String> = request_adapters(Backends::all())
        .await
        .iter()
        .map(Adapter::get_info)
        .map(|info| format!("{} ({})", info.name, info.backend))
        .collect();
    let found = match &found[..] {
        [] if has_backends() => "none".to_owned(),
        [] => "none, since wgpu is built without a backend".to_owned(),
        found => found.join(", "),
    };
    let name = options.adapter_name.as_ref().map(|n| format!(" named '{n}'"));
    let names = |backends: Backends| {
        backends.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join("|")
    };
    let backend = options.backends.map(|b| format!(" of backend {}", names(b)));
    let wanted = format!("{}{}", name.unwrap_or_default(), backend.unwrap_or_default());
    Error::NoAdapter { wanted, found }
}

/// All adapters of these backends. One whose driver fails has none.
pub async fn request_adapters(backends: Backends) -> Vec<Adapter> {
    let mut found = Vec::new();
    for backend in backends & wgpu::Instance::enabled_backend_features() {
        // One by one: where wgpu panics, it would hide the others.
        let adapters = caught_in("adapters", async {
            match instance(backend) {
                Some(instance) => instance.enumerate_adapters(backend).await,
                None => Vec::new(),
            }
        });
        found.extend(adapters.await.unwrap_or_default());
    }
    found
}

/// None where wgpu has no backend: it would panic.
fn instance(backends: Backends) -> Option<wgpu::Instance> {
    has_backends().then(|| {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
        })
    })
}

/// Whether wgpu is built with a backend of this platform. Without the feature `wgpu_default` that is up to the
/// rest of the program.
fn has_backends() -> bool {
    !wgpu::Instance::enabled_backend_features().is_empty()
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
