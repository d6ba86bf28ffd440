//! `cargo xtask player`: whether plans of `fallline export` take the engine's steps in another WebGPU, in Dawn from JavaScript
//! and in wgpu-native from C++.

use crate::{cargo, ensure_adapter, fetch, run, say, target_dir};

pub(crate) fn player() -> anyhow::Result<()> {
    let target = target_dir()?;
    // With one comes the loader of Vulkan drivers.
    ensure_adapter(&[])?;
    let (dawn, driver) = (fetch::dawn(&target)?, fetch::driver(&target)?);
    let (native, json) = (fetch::wgpu_native(&target)?, fetch::json(&target)?);
    say("playing plans in Dawn and in wgpu-native, on the driver that the engine runs on");
    let mut test = cargo();
    test.args([
        "test",
        "--workspace",
        "--test",
        "cli",
        "player::",
        "--",
        "--ignored",
        "--nocapture",
        // That one is for `cargo xtask matrix`.
        "--skip",
        "player::steps_are_recorded",
    ]);
    // Bits are those of a driver: both sides get the same.
    test.env("FALLLINE_DAWN", dawn).env("FALLLINE_WGPU_NATIVE", native).env("FALLLINE_JSON", json);
    test.env("VK_DRIVER_FILES", driver).env("WGPU_BACKEND", "vulkan");
    run(&mut test)
}
