//! The GPUs that drivers pretend to have, and the program with such a driver.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{cargo, run};

/// A GPU that a driver pretends to have.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) name: &'static str,
    driver: Driver,
}

#[derive(Debug)]
enum Driver {
    /// Mesa's RADV up to version 25, where the system has it.
    Radv,
    /// One that `tools/unpack_drivers.sh` has unpacked: its name, that of its fake kernel driver, and what names the GPU.
    Unpacked { icd: &'static str, shim: &'static str, gpu: (&'static str, &'static str) },
    /// The same, where only arm64 has that driver.
    Emulated { icd: &'static str, shim: &'static str, gpu: (&'static str, &'static str) },
}

const fn radv(name: &'static str) -> Gpu {
    Gpu { name, driver: Driver::Radv }
}

const fn unpacked(
    name: &'static str,
    icd: &'static str,
    shim: &'static str,
    gpu: (&'static str, &'static str),
) -> Gpu {
    Gpu { name, driver: Driver::Unpacked { icd, shim, gpu } }
}

const fn emulated(
    name: &'static str,
    icd: &'static str,
    shim: &'static str,
    gpu: (&'static str, &'static str),
) -> Gpu {
    Gpu { name, driver: Driver::Emulated { icd, shim, gpu } }
}

/// Those with thresholds.
pub(super) const GPUS: [Gpu; 3] = [radv("vega10"), radv("navi21"), radv("gfx1100")];

pub(super) const VENDORS: [Gpu; 12] = [
    unpacked("gfx1201", "radeon", "amdgpu", ("AMDGPU_GPU_ID", "gfx1201")),
    unpacked("nvidia-turing", "nouveau", "nouveau", ("NOUVEAU_CHIPSET", "162")),
    unpacked("nvidia-ampere", "nouveau", "nouveau", ("NOUVEAU_CHIPSET", "172")),
    unpacked("apple-m1", "asahi", "asahi", ("ASAHI_GPU", "g13g")),
    unpacked("adreno-630", "freedreno", "freedreno", ("FD_GPU_ID", "630")),
    unpacked("adreno-740", "freedreno", "freedreno", ("FD_GPU_ID", "740")),
    unpacked("intel-tgl", "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "tgl")),
    unpacked("intel-dg2", "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "dg2")),
    unpacked("intel-bmg", "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "bmg")),
    emulated("mali-g52", "panfrost", "panfrost", ("PAN_GPU_ID", "7212")),
    emulated("mali-g610", "panfrost", "panfrost", ("PAN_GPU_ID", "a867")),
    emulated("powervr-bxs", "powervr_mesa", "powervr", ("PVR_SHIM_DEVICE_BVNC", "36.53.104.796")),
];

const ARM64: &str = "aarch64-unknown-linux-gnu";

/// The program `isa`, for this machine and for one that is emulated.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) own: PathBuf,
    /// Where `tools/unpack_drivers.sh` has put what it fetched.
    pub(super) drivers: PathBuf,
    pub(super) arm64: PathBuf,
}

impl Programs {
    /// Links the program for arm64 with the C library that was unpacked there, by the linker that comes with Rust.
    pub(super) fn build_for_arm64(&self) -> anyhow::Result<()> {
        let root = self.drivers.join("arm64");
        let libraries = root.join("usr/lib/aarch64-linux-gnu");
        let mut flags = vec![
            "-Clinker=rust-lld".to_owned(),
            "-Clinker-flavor=ld.lld".to_owned(),
            "-Crelocation-model=static".to_owned(),
            format!("-Clink-arg=--sysroot={}", root.display()),
            format!("-Clink-arg=-L{}", libraries.display()),
            "-Clink-arg=-dynamic-linker=/lib/ld-linux-aarch64.so.1".to_owned(),
        ];
        flags.extend(
            ["crt1.o", "crti.o", "crtn.o"]
                .map(|object| format!("-Clink-arg={}", libraries.join(object).display())),
        );
        let mut build = cargo();
        build.args(["build", "--quiet", "--workspace", "--bin", "isa", "--target", ARM64]);
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        run(&mut build).with_context(|| {
            format!(
                "Mali's and PowerVR's drivers need `isa` for arm64: `rustup target add {ARM64}`"
            )
        })
    }

    /// The program's task `compile` with the driver of a GPU.
    pub(super) fn compiler(&self, gpu: &Gpu) -> Command {
        let mut command = match gpu.driver {
            Driver::Radv => self.with_radv(gpu.name),
            Driver::Unpacked { icd, shim, gpu } => self.with_unpacked(icd, shim, gpu),
            Driver::Emulated { icd, shim, gpu } => self.with_emulated(icd, shim, gpu),
        };
        command.arg("compile").env("MESA_SHADER_CACHE_DISABLE", "1").env("NODEVICE_SELECT", "1");
        for driver in ["NVK", "PAN", "PVR"] {
            command.env(format!("{driver}_I_WANT_A_BROKEN_VULKAN_DRIVER"), "1");
        }
        command
    }

    fn with_radv(&self, family: &str) -> Command {
        let mut command = Command::new(&self.own);
        command.env("RADV_FORCE_FAMILY", family);
        // Another driver's device would be the first.
        if env::var_os("VK_DRIVER_FILES").is_none() {
            command.env("VK_DRIVER_FILES", "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json");
        }
        command
    }

    /// Under the loader of the distribution that the driver is of.
    fn with_unpacked(&self, icd: &str, shim: &str, (variable, value): (&str, &str)) -> Command {
        let root = self.drivers.join("amd64");
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries);
        command.arg("--preload").arg(fake_kernel_driver(&libraries, shim));
        command.arg(&self.own).env(variable, value);
        command.env("VK_DRIVER_FILES", description(&root, icd));
        command
    }

    /// The same by QEMU, which hands its environment on.
    fn with_emulated(&self, icd: &str, shim: &str, (variable, value): (&str, &str)) -> Command {
        let root = self.drivers.join("arm64");
        let libraries = root.join("usr/lib/aarch64-linux-gnu");
        let mut command = Command::new(self.drivers.join("qemu/usr/bin/qemu-aarch64"));
        command.arg("-L").arg(&root).arg(libraries.join("ld-linux-aarch64.so.1"));
        command.arg("--library-path").arg(&libraries);
        command.arg("--preload").arg(fake_kernel_driver(&libraries, shim));
        command.arg(&self.arm64).env(variable, value);
        command.env("VK_DRIVER_FILES", description(&root, icd));
        command
    }
}

impl Gpu {
    pub(super) fn is_vendors(&self) -> bool {
        !matches!(self.driver, Driver::Radv)
    }
}

fn fake_kernel_driver(libraries: &Path, shim: &str) -> PathBuf {
    libraries.join(format!("lib{shim}_noop_drm_shim.so"))
}

fn description(root: &Path, icd: &str) -> PathBuf {
    root.join("usr/share/vulkan/icd.d").join(format!("{icd}_icd.json"))
}
