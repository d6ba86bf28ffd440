//! The GPUs that drivers pretend to have, and the program with such a driver.

use std::{env, path::PathBuf, process::Command};

use anyhow::Context;

use self::Machine::{Amd64, Arm64};
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
    /// One that `tools/unpack_drivers.sh` has unpacked: what it is for, its name, that of its fake kernel driver, and what
    /// names the GPU.
    Unpacked {
        machine: Machine,
        icd: &'static str,
        shim: &'static str,
        gpu: (&'static str, &'static str),
    },
}

/// What a driver runs on.
#[derive(Clone, Copy, Debug)]
enum Machine {
    /// This one.
    Amd64,
    /// One that QEMU emulates.
    Arm64,
}

const fn radv(name: &'static str) -> Gpu {
    Gpu { name, driver: Driver::Radv }
}

const fn unpacked(
    name: &'static str,
    machine: Machine,
    icd: &'static str,
    shim: &'static str,
    gpu: (&'static str, &'static str),
) -> Gpu {
    Gpu { name, driver: Driver::Unpacked { machine, icd, shim, gpu } }
}

/// Those with thresholds.
pub(super) const GPUS: [Gpu; 3] = [radv("vega10"), radv("navi21"), radv("gfx1100")];

pub(super) const VENDORS: [Gpu; 12] = [
    unpacked("gfx1201", Amd64, "radeon", "amdgpu", ("AMDGPU_GPU_ID", "gfx1201")),
    unpacked("nvidia-turing", Amd64, "nouveau", "nouveau", ("NOUVEAU_CHIPSET", "162")),
    unpacked("nvidia-ampere", Amd64, "nouveau", "nouveau", ("NOUVEAU_CHIPSET", "172")),
    unpacked("apple-m1", Amd64, "asahi", "asahi", ("ASAHI_GPU", "g13g")),
    unpacked("adreno-630", Amd64, "freedreno", "freedreno", ("FD_GPU_ID", "630")),
    unpacked("adreno-740", Amd64, "freedreno", "freedreno", ("FD_GPU_ID", "740")),
    unpacked("intel-tgl", Amd64, "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "tgl")),
    unpacked("intel-dg2", Amd64, "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "dg2")),
    unpacked("intel-bmg", Amd64, "intel", "intel", ("INTEL_STUB_GPU_PLATFORM", "bmg")),
    unpacked("mali-g52", Arm64, "panfrost", "panfrost", ("PAN_GPU_ID", "7212")),
    unpacked("mali-g610", Arm64, "panfrost", "panfrost", ("PAN_GPU_ID", "a867")),
    unpacked(
        "powervr-bxs",
        Arm64,
        "powervr_mesa",
        "powervr",
        ("PVR_SHIM_DEVICE_BVNC", "36.53.104.796"),
    ),
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
            Driver::Unpacked { machine, icd, shim, gpu: (variable, value) } => {
                let mut command = self.with_unpacked(machine, icd, shim);
                command.env(variable, value);
                command
            }
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

    /// Under the loader of the distribution that the driver is of. (QEMU hands its environment on.)
    fn with_unpacked(&self, machine: Machine, icd: &str, shim: &str) -> Command {
        let (folder, triple, loader, program) = match machine {
            Amd64 => ("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2", &self.own),
            Arm64 => ("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1", &self.arm64),
        };
        let root = self.drivers.join(folder);
        let libraries = root.join("usr/lib").join(triple);
        let loader = libraries.join(loader);
        let mut command = match machine {
            Amd64 => Command::new(loader),
            Arm64 => {
                let mut emulator = Command::new(self.drivers.join("qemu/usr/bin/qemu-aarch64"));
                emulator.arg("-L").arg(&root).arg(loader);
                emulator
            }
        };
        command.arg("--library-path").arg(&libraries);
        command.arg("--preload").arg(libraries.join(format!("lib{shim}_noop_drm_shim.so")));
        let icds = root.join("usr/share/vulkan/icd.d");
        command.arg(program).env("VK_DRIVER_FILES", icds.join(format!("{icd}_icd.json")));
        command
    }
}

impl Gpu {
    pub(super) fn is_vendors(&self) -> bool {
        !matches!(self.driver, Driver::Radv)
    }
}
