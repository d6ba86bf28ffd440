//! Headless Chromium.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{install, say, text};

/// What it may be called.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// WebGPU in software, on machines without a GPU too; and nothing that asks the network for something.
const OPTIONS: [&str; 10] = [
    "--headless=new",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
    // Root has no sandbox, nor has a container; the page is ours.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
];

/// The name that it has here; installs it where there is none.
pub(crate) fn find() -> anyhow::Result<&'static str> {
    if let Some(name) = found() {
        return Ok(name);
    }
    say("there is no Chromium: installing it, 100 MB (apt-get install chromium)");
    install(
        &["--no-install-recommends", "chromium"],
        "there is no apt to install it with: install Chromium or Chrome and run this again",
    )?;
    found().context("chromium is installed, but does not run")
}

fn found() -> Option<&'static str> {
    NAMES.into_iter().find(|name| version(name).is_ok())
}

/// Its name and version, as it tells them.
pub(crate) fn version(name: &str) -> anyhow::Result<String> {
    let told = Command::new(name).arg("--version").stderr(Stdio::null()).output()?;
    if !told.status.success() {
        bail!("`{name} --version` failed ({})", told.status);
    }
    Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

/// The document that a file has become, as HTML. The profile is made in this directory, and stays there.
pub(super) fn dom(name: &str, directory: &Path, page: &Path) -> anyhow::Result<String> {
    let url = format!("file://{}", page.canonicalize()?.display());
    let profile = format!("--user-data-dir={}", directory.join("profile-report").display());
    let printed = Command::new(name)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args([&profile, &url])
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !printed.status.success() {
        bail!("`{name} --dump-dom` failed ({})", printed.status);
    }
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
}

/// A browser with a profile of its own; both are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Browser {
    /// Opens an address. The profile is a directory that does not exist yet.
    pub(crate) fn open(name: &str, profile: PathBuf, url: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(name);
        command.args(OPTIONS).arg(format!("--user-data-dir={}", profile.display())).arg(url);
        Self::start(&mut command, profile)
    }

    /// One that a command starts with this profile.
    pub(crate) fn start(command: &mut Command, profile: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&profile)
            .with_context(|| format!("cannot create {}", profile.display()))?;
        let log = File::create(log_of(&profile)).context("cannot write into the profile")?;
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = started.with_context(|| format!("cannot run `{}`", text(command)))?;
        Ok(Self { process, profile })
    }

    /// How it ended, if it did, and what it wrote last.
    pub(crate) fn ended(&mut self) -> io::Result<Option<String>> {
        let Some(status) = self.process.try_wait()? else { return Ok(None) };
        let log = fs::read(log_of(&self.profile))?;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        Ok(Some(format!("{status}\n{}", last.join("\n"))))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Its helpers end when they notice, and may write until then.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.profile).is_ok() || !self.profile.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        say(&format!("cannot remove {}", self.profile.display()));
    }
}

fn log_of(profile: &Path) -> PathBuf {
    profile.join("stderr.log")
}
