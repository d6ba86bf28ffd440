//! Other implementations of WebGPU, which play what the engine has recorded.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    drivers::{Driver, Variables},
    page::Row,
    played::Played,
};
use crate::{
    browser::{
        chromium::{self, Browser},
        server::{self, File, Said},
    },
    cargo, fetch, install, run, say, text,
};

/// How long a player may be silent: a plan has some kernels, which drivers in software compile one after the other.
const LIMIT: Duration = Duration::from_secs(300);

/// How long one may take that is not listened to.
const LIMIT_OF_ALL: &str = "3600";

/// An implementation of WebGPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WebGpu {
    Dawn,
    Deno,
    WgpuNative,
    Chromium,
    Firefox,
}

/// One on a driver.
#[derive(Debug)]
pub(super) struct Player {
    webgpu: WebGpu,
    pub(super) driver: &'static str,
}

const fn player(webgpu: WebGpu, driver: &'static str) -> Player {
    Player { webgpu, driver }
}

pub(super) const PLAYERS: [Player; 12] = [
    player(WebGpu::Dawn, "newer-lavapipe"),
    player(WebGpu::Dawn, "swiftshader"),
    player(WebGpu::Deno, "lavapipe"),
    player(WebGpu::Deno, "newer-lavapipe"),
    player(WebGpu::Deno, "swiftshader"),
    player(WebGpu::WgpuNative, "lavapipe"),
    player(WebGpu::WgpuNative, "newer-lavapipe"),
    player(WebGpu::WgpuNative, "swiftshader"),
    player(WebGpu::Chromium, "swiftshader"),
    player(WebGpu::Firefox, "lavapipe"),
    player(WebGpu::Firefox, "newer-lavapipe"),
    player(WebGpu::Firefox, "swiftshader"),
];

/// What the engine did on a driver.
#[derive(Debug)]
pub(super) struct Recordings {
    directory: PathBuf,
    driver: String,
    cases: Vec<String>,
    variables: Variables,
}

impl Recordings {
    /// Has the engine take its steps.
    pub(super) fn new(driver: &Driver, target: &Path) -> anyhow::Result<Self> {
        let directory = target.join("matrix/recordings").join(driver.name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let variables = driver.variables(target)?;
        say(&format!("recording the engine's steps on {}", driver.name));
        let mut record = cargo();
        record.args(["test", "--quiet", "--workspace", "--test", "cli"]);
        record.args(["player::steps_are_recorded", "--", "--ignored"]);
        record.env("FALLLINE_RECORDINGS", &directory);
        run(record.envs(variables.iter().map(|(name, value)| (name, value))))?;
        let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let cases: Vec<String> =
            index["cases"].as_array().into_iter().flatten().map(word).collect();
        ensure!(!cases.is_empty(), "nothing was recorded on {}", driver.name);
        let driver = format!("{}; {}", word(&index["adapter"]), word(&index["driver"]));
        Ok(Self { directory, driver, cases, variables })
    }

    fn variables(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }
}

impl Player {
    pub(super) fn name(&self) -> &'static str {
        match self.webgpu {
            WebGpu::Dawn => "dawn",
            WebGpu::Deno => "deno",
            WebGpu::WgpuNative => "wgpu-native",
            WebGpu::Chromium => "chromium",
            WebGpu::Firefox => "firefox",
        }
    }

    /// Plays everything, and gives its row.
    pub(super) fn play(&self, recordings: &Recordings, target: &Path) -> anyhow::Result<Row> {
        say(&format!("playing the steps in {} on {}", self.name(), self.driver));
        let (version, printed) = match self.webgpu {
            WebGpu::Dawn => dawn(target, recordings)?,
            WebGpu::Deno => deno(target, recordings)?,
            WebGpu::WgpuNative => wgpu_native(target, recordings)?,
            WebGpu::Chromium => chromium(target, recordings)?,
            WebGpu::Firefox => firefox(target, recordings)?,
        };
        let played = Played::read(printed.lines(), &recordings.cases);
        let adapter = if played.adapter.is_empty() { "tells none" } else { &played.adapter };
        let versions = format!("{version}; {adapter}");
        let mut cells = vec![self.name().to_owned(), self.driver.to_owned(), versions];
        cells.push(recordings.driver.clone());
        cells.extend(played.cells());
        Ok(Row { cells, is_expected: played.is_equal() })
    }
}

/// A file of the tests of `fallline export`, or of the repository, from the folder of the former.
fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/tests/cli/player").join(file)
}

fn tools(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools").join(file)
}

/// What a command prints on the standard output, however it ends.
fn printed(command: &mut Command, recordings: &Recordings) -> anyhow::Result<String> {
    command.args(recordings.cases.iter().map(|case| recordings.directory.join(case)));
    command.env("NODEVICE_SELECT", "1").envs(recordings.variables());
    let ran = command.output().with_context(|| format!("cannot run `{}`", text(command)))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if !ran.status.success() {
        say(&format!("it ended with {}: {}", ran.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// A program with an end.
fn limited(program: impl Into<OsString>) -> Command {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_OF_ALL).arg(program.into());
    command
}

fn dawn(target: &Path, recordings: &Recordings) -> anyhow::Result<(String, String)> {
    let module = fetch::dawn(target)?;
    let mut node = limited("node");
    node.env("FALLLINE_DAWN", module).arg("--import").arg(here("node.mjs"));
    let printed = printed(node.arg(here("files.mjs")).arg(tools("player.mjs")), recordings)?;
    Ok((format!("webgpu {} of npm", fetch::DAWN.1), printed))
}

fn deno(target: &Path, recordings: &Recordings) -> anyhow::Result<(String, String)> {
    let mut deno = limited(fetch::deno(target)?);
    deno.args(["run", "--quiet", "--allow-all", "--unstable-webgpu"]);
    let printed = printed(deno.arg(here("files.mjs")).arg(tools("player.mjs")), recordings)?;
    Ok((format!("deno {} of npm", fetch::DENO.1), printed))
}

fn wgpu_native(target: &Path, recordings: &Recordings) -> anyhow::Result<(String, String)> {
    let (native, json) = (fetch::wgpu_native(target)?, fetch::json(target)?);
    let program = target.join("matrix/play");
    let mut compiler = Command::new("g++");
    compiler.args(["-std=c++20", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    compiler.arg(here("play.cpp"));
    for headers in [tools(""), native.join("include"), json] {
        compiler.arg("-I").arg(headers);
    }
    compiler.arg(native.join("libwgpu_native.so"));
    run(compiler.arg(format!("-Wl,-rpath,{}", native.display())))?;
    let printed = printed(&mut limited(program), recordings)?;
    Ok(("wgpu 0.32.0 of PyPI".to_owned(), printed))
}

fn chromium(target: &Path, recordings: &Recordings) -> anyhow::Result<(String, String)> {
    let name = chromium::find()?;
    let open = |profile: PathBuf, url: &str| Browser::open(name, profile, url);
    Ok((chromium::version(name)?, browsed(target, recordings, open)?))
}

/// What it asks or loads for itself is off.
const PREFERENCES: &str = r#"user_pref("dom.webgpu.enabled", true);
user_pref("gfx.webgpu.ignore-blocklist", true);
user_pref("security.sandbox.content.level", 0);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
"#;

fn firefox(target: &Path, recordings: &Recordings) -> anyhow::Result<(String, String)> {
    let found = || ["firefox", "firefox-esr"].into_iter().find(|name| fetch::runs(name));
    if found().is_none() {
        say("there is no Firefox: installing it, 70 MB (apt-get install firefox-esr)");
        let without_apt = "there is no apt to install it with: install Firefox and run this again";
        install(&["--no-install-recommends", "firefox-esr"], without_apt)?;
    }
    let name = found().context("firefox-esr is installed, but does not run")?;
    let open = |profile: PathBuf, url: &str| {
        fs::create_dir_all(&profile)?;
        fs::write(profile.join("user.js"), PREFERENCES)?;
        let mut firefox = Command::new(name);
        firefox.args(["--headless", "--no-remote", "--profile"]).arg(&profile).arg(url);
        // It makes folders at home.
        firefox.env("HOME", &profile).envs(recordings.variables());
        Browser::start(&mut firefox, profile)
    };
    Ok((chromium::version(name)?, browsed(target, recordings, open)?))
}

/// What a page prints that plays everything in a browser.
fn browsed(
    target: &Path,
    recordings: &Recordings,
    open: impl Fn(PathBuf, &str) -> anyhow::Result<Browser>,
) -> anyhow::Result<String> {
    let (address, said) = server::serve(files(recordings)?).context("cannot serve a page")?;
    let profile = target.join("matrix").join(format!("profile-{}", process::id()));
    let mut browser = open(profile, &format!("http://{address}/"))?;
    let mut printed = String::new();
    let mut heard = Instant::now();
    loop {
        match said.recv_timeout(Duration::from_millis(200)) {
            Ok(Said::Printed(line)) => {
                printed += &line;
                printed.push('\n');
                heard = Instant::now();
            }
            Ok(Said::Ended) => return Ok(printed),
            Ok(Said::Broken(why)) => bail!("the page said: {why}"),
            Ok(other) => bail!("the page said {other:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the server ended"),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = browser.ended()? {
                    bail!("the browser ended: {status}");
                }
                ensure!(
                    heard.elapsed() < LIMIT,
                    "nothing happened for {} seconds",
                    LIMIT.as_secs()
                );
            }
        }
    }
}

/// The page, the player, and all recordings.
fn files(recordings: &Recordings) -> anyhow::Result<Vec<File>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let page = include_bytes!("play.html").to_vec();
    let mut files = vec![File { path: "/".into(), kind: "text/html", bytes: page }];
    for script in [tools("player.mjs"), here("play.mjs")] {
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (path, bytes) = (format!("/{name}"), read(&script)?);
        files.push(File { path, kind: "text/javascript", bytes });
    }
    let mut folders = vec![recordings.directory.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&recordings.directory)?.to_string_lossy().into_owned();
            files.push(File {
                path: format!("/{inside}"),
                kind: "application/octet-stream",
                bytes: read(&path)?,
            });
        }
    }
    Ok(files)
}
