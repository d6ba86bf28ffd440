//! The bundle on a machine that has nothing else: Debian's smallest system with Mesa's software driver, without a
//! toolchain, a network, or a loader of Vulkan drivers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{apt, as_root, fetch, install, run, say, text};

/// Debian's release of the machine: the oldest that the bundle should run on.
const RELEASE: &str = "bookworm";

/// What the machine has beside the smallest system.
const DRIVER: &str = "mesa-vulkan-drivers";

/// In a namespace of its own, which ends with it: no network, and what programs expect of a running system.
const ENTER: &str = r#"
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
cp "$2" "$1/tmp/bundle.tar.gz"
code=0
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp chroot "$1" sh -c '
    ! command -v cargo && ! command -v cc && ! [ -e /usr/lib/x86_64-linux-gnu/libvulkan.so.1 ] || exit 3
    cd /tmp && tar -xzf bundle.tar.gz && cd fallline-bundle && ./run --quick --width 0.1
' || code=$?
cp "$1/tmp/fallline-bundle/report.tar.gz" "$3"
exit $code
"#;

/// The last line of the report's summary if all went well begins so.
const GOOD: &str = "verdict: all ";

/// Runs the bundle there, and reads its report.
pub(super) fn test(archive: &Path, directory: &Path) -> anyhow::Result<()> {
    let root = machine(&directory.join(RELEASE))?;
    let report = directory.join("report.tar.gz");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    say("running the bundle in a system without a toolchain or a network (minutes)");
    let mut enter = as_root("unshare");
    enter.args(["--net", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "sh"]);
    enter.arg(&root).arg(archive).arg(&report);
    let ran = enter.status().context("cannot run unshare")?;
    ensure!(report.exists(), "the bundle has left no report ({ran})");
    let mut tar = Command::new("tar");
    let summary = tar.arg("-xzOf").arg(&report).arg("report/summary.txt").output()?;
    ensure!(summary.status.success(), "`{}`: no summary in the report", text(&tar));
    let summary = String::from_utf8_lossy(&summary.stdout);
    let verdict = summary.lines().last().unwrap_or_default();
    if !ran.success() || !verdict.starts_with(GOOD) {
        bail!("{verdict} ({ran}; the logs are in {})", report.display());
    }
    say(&format!("{verdict}, as {} says", report.display()));
    Ok(())
}

/// The system's root, made once.
fn machine(root: &Path) -> anyhow::Result<PathBuf> {
    let made = root.with_extension("made");
    if made.exists() {
        return Ok(root.to_owned());
    }
    if root.exists() {
        run(as_root("rm").args(["-rf", "--one-file-system"]).arg(root))?;
    }
    if !fetch::runs("debootstrap") {
        say("there is no debootstrap: installing it (apt-get install debootstrap)");
        let without_apt = "there is no apt to install debootstrap with: this takes a Debian";
        install(&["--no-install-recommends", "debootstrap"], without_apt)?;
    }
    let mirror = mirror()?;
    say(&format!("making a {RELEASE} with {DRIVER} and nothing else (minutes, once)"));
    run(as_root("debootstrap").args(["--variant=minbase", RELEASE]).arg(root).arg(mirror))?;
    let mut install = as_root("chroot");
    install.arg(root).env("DEBIAN_FRONTEND", "noninteractive");
    run(install.args([
        "apt-get",
        "install",
        "--quiet=2",
        "--yes",
        "--no-install-recommends",
        DRIVER,
    ]))?;
    // The driver's package asks for the loader; the bundle has one.
    run(as_root("sh").args(["-c", r#"rm "$1"/usr/lib/*/libvulkan.so.1*"#, "sh"]).arg(root))?;
    fs::write(made, "")?;
    Ok(root.to_owned())
}

/// Where this machine's apt has this release from.
fn mirror() -> anyhow::Result<String> {
    run(apt().args(["update", "--quiet=2"]))?;
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    let listed = targets.arg("Created-By: Packages").output().context("cannot run apt-get")?;
    repository(&String::from_utf8_lossy(&listed.stdout), RELEASE)
        .with_context(|| format!("apt here has no {RELEASE}: this takes Debian {RELEASE}"))
}

/// The address of the main repository of a release, among lines of address, release and component.
fn repository(targets: &str, release: &str) -> Option<String> {
    let is_main = |line: &&str| line.split(' ').skip(1).eq([release, "main"]);
    targets.lines().find(is_main)?.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_that_of_the_release() {
        let targets = "s:/a bookworm-updates main\ns:/b bookworm contrib\ns:/c bookworm main\ns:/d trixie main\n";
        assert_eq!(repository(targets, "bookworm").as_deref(), Some("s:/c"));
        assert_eq!(repository(targets, "sid"), None);
        let mut sh = Command::new("sh");
        run(sh.args(["-n", "-c", ENTER])).expect("a script");
    }
}
