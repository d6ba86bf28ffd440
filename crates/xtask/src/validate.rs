//! `cargo xtask validate`: the engine's tests under Khronos's validation layer for Vulkan.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::{CARGO_WRONG_USAGE, WrongUsage, cargo, ensure_adapter, fetch, say, target_dir, text};

/// Errors, warnings and advice, each as often as it occurs, to the standard output.
const SETTINGS: &str = "\
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,perf
khronos_validation.enable_message_limit = false
";

/// In the first line of everything that the layer says.
const MESSAGE: &str = "msgNum: ";

pub(crate) fn validate(options: &[String]) -> anyhow::Result<()> {
    let target = target_dir()?;
    // With one comes the loader of Vulkan drivers.
    ensure_adapter(&[])?;
    let layer = Layer::new(&target.join("layers"))?;
    layer.is_heard()?;
    say("running the engine's tests under Khronos's validation layer");
    let mut test = layer.over(cargo());
    // A test runs the examples.
    test.args(["test", "--workspace", "--test", "engine", "--examples"]);
    test.args(options);
    let (status, messages) = said(&mut test)?;
    if !messages.is_empty() {
        bail!("the layer said {} things, the first: {}", messages.len(), messages[0]);
    }
    if !status.success() {
        let error = anyhow::anyhow!("`{}` failed ({status})", text(&test));
        let is_usage = status.code() == Some(CARGO_WRONG_USAGE);
        return Err(if is_usage { error.context(WrongUsage) } else { error });
    }
    say("the layer has nothing to say");
    Ok(())
}

/// Unpacked, and not installed: wgpu would turn it on in all development builds.
#[derive(Debug)]
struct Layer {
    variables: Vec<(&'static str, std::path::PathBuf)>,
}

impl Layer {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let (manifest, libraries) = fetch::validation_layer(directory)?;
        let settings = directory.join("vk_layer_settings.txt");
        fs::write(&settings, SETTINGS).context("cannot write the layer's settings")?;
        let manifests = manifest.parent().unwrap_or(directory).to_owned();
        let variables = vec![
            ("VK_LAYER_PATH", manifests),
            ("LD_LIBRARY_PATH", libraries),
            ("VK_LAYER_SETTINGS_PATH", settings),
        ];
        Ok(Self { variables })
    }

    /// A command under this layer.
    fn over(&self, mut command: Command) -> Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .env("WGPU_BACKEND", "vulkan")
            .env("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation");
        // In debug information naga names WGSL as the source's language, by a number that SPIR-V got later than this
        // layer was made.
        command.env("WGPU_DEBUG", "0");
        command
    }

    /// Asked for advice on how Vulkan is best used, it has some for wgpu: else it would not be heard either if something
    /// were wrong.
    fn is_heard(&self) -> anyhow::Result<()> {
        let mut info = self.over(cargo());
        info.args(["run", "--quiet", "--package", "fallline-cli", "--", "info"]);
        info.env("VK_LAYER_ENABLES", "VK_VALIDATION_FEATURE_ENABLE_BEST_PRACTICES_EXT");
        let ran = info.output().with_context(|| format!("cannot run `{}`", text(&info)))?;
        let printed = String::from_utf8_lossy(&ran.stdout);
        ensure!(printed.contains(MESSAGE), "the validation layer is not heard:\n{printed}");
        Ok(())
    }
}

/// Runs a command, shows what it prints, and gives what of that the layer said.
fn said(command: &mut Command) -> anyhow::Result<(std::process::ExitStatus, Vec<String>)> {
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut process = spawned.with_context(|| format!("cannot run `{}`", text(command)))?;
    let printed = process.stdout.take().context("it prints nowhere")?;
    let mut messages = Vec::new();
    for line in BufReader::new(printed).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if line.contains(MESSAGE) {
            messages.push(line);
        }
    }
    Ok((process.wait()?, messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_layer_says_is_found_among_other_lines() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "echo running; echo '..VUID-x(ERROR / SPEC): msgNum: 7 - x'; exit 3"]);
        let (status, messages) = said(&mut sh).expect("there is a shell");
        assert_eq!((status.code(), messages.len()), (Some(3), 1));
    }
}
