//! `cargo xtask browser`: whether everything that waits makes progress in a browser by itself, and whether the page of
//! `fallline check` can be read there.

pub(crate) mod chromium;
mod report;
pub(crate) mod server;

use std::{
    fs, io,
    path::Path,
    process,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use self::{
    chromium::Browser,
    server::{File, Said},
};
use crate::{cargo, run, say, target_dir, wasm};

/// The crate with the checks, and the name of its module.
const PACKAGE: &str = "fallline-browser";
const MODULE: &str = "fallline_browser";

/// How long a check may take, or the browser until the first: kernels are compiled and run in software.
const LIMIT: Duration = Duration::from_secs(60);

/// How often to look whether the browser is still there.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn browser() -> anyhow::Result<()> {
    let target = target_dir()?;
    let name = chromium::find()?;
    report::look(name, &target.join("browser"))?;
    let files = files(&target)?;
    let (address, said) = server::serve(files).context("cannot serve a page")?;
    say(&format!("running the checks in {}", chromium::version(name)?));
    let profile = target.join("browser").join(format!("profile-{}", process::id()));
    let mut browser = Browser::open(name, profile, &format!("http://{address}/"))?;
    let Counts { passed, failed } = watch(&said, LIMIT, || browser.ended())?;
    println!("{passed} checks passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} checks failed in the browser");
    }
    Ok(())
}

/// Builds the checks; gives the files of the page.
fn files(target: &Path) -> anyhow::Result<Vec<File>> {
    let mut build = wasm::compiler()?;
    say("building the checks for wasm32 (a few minutes the first time)");
    build.args(["build", "--package", PACKAGE, "--lib", "--target", wasm::TARGET]);
    run(build.arg("--target-dir").arg(target))?;

    say("making JavaScript bindings");
    let module = target.join(wasm::TARGET).join("debug").join(MODULE).with_extension("wasm");
    let bindings = target.join("browser");
    let of_tool = ["--package", "xtask", "--features", "bindings", "--bin", "bindings"];
    let mut bind = cargo();
    bind.args(["run", "--quiet", "--profile", "tool"]).args(of_tool);
    run(bind.arg("--").arg(module).arg(&bindings))?;

    let read = |name: String| {
        let path = bindings.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let script = read(format!("{MODULE}.js"))?;
    let module = read(format!("{MODULE}_bg.wasm"))?;
    let page = include_bytes!("page.html").to_vec();
    Ok(vec![
        File { path: "/".into(), kind: "text/html", bytes: page },
        File { path: "/fallline_browser.js".into(), kind: "text/javascript", bytes: script },
        File { path: "/fallline_browser_bg.wasm".into(), kind: "application/wasm", bytes: module },
    ])
}

/// What became of the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
}

/// Prints each check when it has ended.
fn watch(
    said: &Receiver<Said>,
    limit: Duration,
    mut ended: impl FnMut() -> io::Result<Option<String>>,
) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut current = "the page".to_owned();
    let mut begun = Instant::now();
    loop {
        match said.recv_timeout(LOOK.min(limit)) {
            Ok(Said::Begun(name)) => (current, begun) = (name, Instant::now()),
            Ok(Said::Passed) => {
                counts.passed += 1;
                println!("ok      {current} ({:.1} s)", begun.elapsed().as_secs_f64());
            }
            Ok(Said::Failed(why)) => {
                counts.failed += 1;
                println!("FAILED  {current}: {why}");
            }
            Ok(Said::Printed(line)) => println!("{line}"),
            Ok(Said::Broken(why)) => bail!("{current}: {why}"),
            Ok(Said::Ended) if counts == Counts::default() => bail!("there was nothing to check"),
            Ok(Said::Ended) => return Ok(counts),
            Err(RecvTimeoutError::Disconnected) => bail!("the server ended"),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = ended()? {
                    bail!("{current}: the browser ended: {status}");
                }
                if begun.elapsed() > limit {
                    bail!("{current}: nothing happened for {} seconds", limit.as_secs());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::mpsc};

    use super::*;

    /// What is made of these words, and then of silence.
    fn after(words: &[Said]) -> anyhow::Result<Counts> {
        let (sender, said) = mpsc::channel();
        for word in words {
            sender.send(word.clone()).expect("the receiver is there");
        }
        watch(&said, Duration::from_millis(5), || Ok(None))
    }

    #[test]
    fn checks_are_counted_and_what_hangs_is_named() {
        let begun = Said::Begun("one".into());
        let failed = Said::Failed("no".into());
        let counts = after(&[begun.clone(), Said::Passed, begun.clone(), failed, Said::Ended]);
        assert_eq!(counts.expect("it ended"), Counts { passed: 1, failed: 1 });
        let error = |words: &[Said]| after(words).expect_err("it did not end").to_string();
        assert!(error(&[]).starts_with("the page: nothing happened"));
        assert!(
            error(&[begun.clone(), Said::Passed, Said::Begun("two".into())]).starts_with("two: ")
        );
        assert_eq!(error(&[begun, Said::Broken("a trap".into())]), "one: a trap");
        assert_eq!(error(&[Said::Ended]), "there was nothing to check");
    }

    /// All that the sources in a directory say.
    fn sources(directory: &Path) -> String {
        let entries = fs::read_dir(directory).expect("the workspace is here");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        let text = |path: PathBuf| match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(&path).expect("sources are text"),
        };
        paths.map(text).collect()
    }

    #[test]
    fn every_future_of_the_library_is_checked() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in a directory");
        let library = sources(&crates.join("fallline/src"));
        let checks = sources(&crates.join("browser/src"));
        let futures = library.split("pub async fn ").skip(1);
        let names: Vec<&str> = futures.filter_map(|rest| rest.split(['(', '<']).next()).collect();
        assert!(names.contains(&"settle"), "{names:?}");
        for name in names {
            let is_called = [".", "::"].iter().any(|by| checks.contains(&format!("{by}{name}(")));
            assert!(is_called, "no check calls `{name}`");
        }
    }
}
