//! Drivers of Vulkan and GL in software, which any machine can run.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::ensure;

use crate::{fetch, install, run};

/// A driver that the engine runs on.
#[derive(Debug)]
pub(super) struct Driver {
    /// As on the page, and on the command line.
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    is_gl: bool,
}

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Debian's packages, installed.
    Debian,
    /// Those of a newer Debian, which `tools/unpack_lavapipe.sh` unpacks.
    NewerDebian,
    /// Chromium, which has one of its own.
    Chromium,
}

const fn driver(name: &'static str, origin: Origin, is_gl: bool) -> Driver {
    Driver { name, origin, is_gl }
}

pub(super) const DRIVERS: [Driver; 5] = [
    driver("lavapipe", Origin::Debian, false),
    driver("newer-lavapipe", Origin::NewerDebian, false),
    driver("swiftshader", Origin::Chromium, false),
    driver("gl", Origin::Debian, true),
    driver("newer-gl", Origin::NewerDebian, true),
];

/// Variables that choose a driver for a process.
pub(super) type Variables = Vec<(&'static str, OsString)>;

impl Driver {
    /// Sees to it that it is there.
    pub(super) fn variables(&self, target: &Path) -> anyhow::Result<Variables> {
        let backend = if self.is_gl { "gl" } else { "vulkan" };
        let mut variables: Variables = vec![("WGPU_BACKEND", backend.into())];
        let folder = target.join("matrix/lavapipe");
        if self.origin == Origin::NewerDebian {
            run(Command::new("tools/unpack_lavapipe.sh").arg(&folder))?;
            variables.push(("LD_LIBRARY_PATH", folder.join("usr/lib/x86_64-linux-gnu").into()));
        }
        match (self.is_gl, self.origin) {
            // The loader of GL is the same for both.
            (true, _) => {
                installed("/usr/lib/x86_64-linux-gnu/libEGL.so.1", &["libegl1", "libgl1-mesa-dri"])?
            }
            (false, Origin::NewerDebian) => {
                variables.push(("VK_DRIVER_FILES", folder.join("lavapipe.json").into()));
            }
            (false, Origin::Chromium) => {
                variables.push(("VK_DRIVER_FILES", fetch::swiftshader(target)?.into()));
            }
            (false, Origin::Debian) => {
                let manifest = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
                installed(manifest, &["mesa-vulkan-drivers"])?;
                variables.push(("VK_DRIVER_FILES", manifest.into()));
            }
        }
        Ok(variables)
    }
}

/// Installs packages if this file of theirs is not there.
fn installed(file: &str, packages: &[&str]) -> anyhow::Result<()> {
    if !Path::new(file).exists() {
        install(
            packages,
            "there is no apt to install Mesa's drivers with: the page is of Debian's",
        )?;
    }
    ensure!(Path::new(file).exists(), "{} have no {file}", packages.join(" and "));
    Ok(())
}
