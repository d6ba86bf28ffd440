//! Faults of drivers that are known: what fails because of one is no news, and what no longer fails is.
//!
//! As in wgpu's tests (`tests/src/expectations.rs` there), an entry says on which devices a check is expected to
//! fail, and why. It needs a public source, or somebody who measured it; what WGSL permits is no fault, and a check
//! that fails because of that is wrong itself.

use fallline::wgpu::{AdapterInfo, Backend};

/// A fault of a driver.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Whose failure it explains: a check's name, or the part of it before the slash for a whole family.
    pub(crate) check: &'static str,
    /// Any, where it is `None`; so it is with all that follows.
    pub(crate) backend: Option<Backend>,
    /// The PCI vendor's number.
    pub(crate) vendor: Option<u32>,
    /// What the adapter's name contains, in any case.
    pub(crate) device: Option<&'static str>,
    /// What the driver's name with its version contains, in any case: `llvmpipe Mesa 22.3.6`.
    pub(crate) driver: Option<&'static str>,
    /// What is wrong.
    pub(crate) reason: &'static str,
    /// Where that is told.
    pub(crate) link: &'static str,
}

/// All that are known. None so far: every driver tried passes every check.
pub(crate) const FAULTS: &[Fault] = &[];

impl Fault {
    /// Whether it explains that this check fails on this adapter.
    fn explains(&self, check: &str, adapter: &AdapterInfo) -> bool {
        let contains = |text: &str, part: Option<&str>| {
            part.is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()))
        };
        let is_of = check == self.check
            || check.strip_prefix(self.check).is_some_and(|rest| rest.starts_with('/'));
        is_of
            && self.backend.is_none_or(|backend| backend == adapter.backend)
            && self.vendor.is_none_or(|vendor| vendor == adapter.vendor)
            && contains(&adapter.name, self.device)
            && contains(&format!("{} {}", adapter.driver, adapter.driver_info), self.driver)
    }

    /// The first of these that explains it.
    pub(crate) fn find<'a>(
        faults: &'a [Self],
        check: &str,
        adapter: &AdapterInfo,
    ) -> Option<&'a Self> {
        faults.iter().find(|fault| fault.explains(check, adapter))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.link)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use fallline::wgpu::DeviceType;

    use super::*;

    /// A fault of this check on any device.
    pub(crate) const fn anywhere(check: &'static str) -> Fault {
        Fault {
            check,
            backend: None,
            vendor: None,
            device: None,
            driver: None,
            reason: "it rounds up",
            link: "https://example.org/1",
        }
    }

    fn adapter() -> AdapterInfo {
        AdapterInfo {
            name: "Some GPU 9000".to_owned(),
            vendor: 0x1002,
            driver: "radv".to_owned(),
            driver_info: "Mesa 26.1.6".to_owned(),
            ..AdapterInfo::new(DeviceType::DiscreteGpu, Backend::Vulkan)
        }
    }

    #[test]
    fn a_fault_is_of_what_it_names() {
        let base = anywhere("rules/adamw");
        for (fault, is_it) in [
            (base.clone(), true),
            (Fault { check: "rules", ..base.clone() }, true),
            (Fault { check: "rule", ..base.clone() }, false),
            (Fault { check: "rules/adam", ..base.clone() }, false),
            (Fault { backend: Some(Backend::Vulkan), ..base.clone() }, true),
            (Fault { backend: Some(Backend::Metal), ..base.clone() }, false),
            (Fault { vendor: Some(0x1002), ..base.clone() }, true),
            (Fault { vendor: Some(0x10de), ..base.clone() }, false),
            (Fault { device: Some("gpu 9000"), ..base.clone() }, true),
            (Fault { device: Some("gpu 9001"), ..base.clone() }, false),
            (Fault { driver: Some("RADV Mesa 26.1"), ..base.clone() }, true),
            (Fault { driver: Some("Mesa 25"), ..base.clone() }, false),
        ] {
            assert_eq!(fault.explains("rules/adamw", &adapter()), is_it, "{fault:?}");
        }
    }

    /// An entry of a check that was renamed would never be of use again.
    #[test]
    fn every_fault_is_of_a_check_that_there_is() {
        let checks = crate::check::contents::checks(true);
        for Fault { check, reason, link, .. } in FAULTS {
            let is_one = |known: &crate::check::subject::Check| {
                known.name == *check || known.family() == *check
            };
            assert!(checks.iter().any(is_one), "{check}");
            assert!(!reason.is_empty() && link.starts_with("https://"), "{check}");
        }
    }
}
