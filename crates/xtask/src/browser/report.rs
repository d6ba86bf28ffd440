//! The page that `fallline check` writes, as a browser sees it.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use super::chromium;
use crate::{cargo, ensure_adapter, run, say};

/// Some checks, on whatever adapter there is, and the page about them in headless Chromium: it shows the verdict, and a
/// row for each check.
pub(super) fn look(chromium: &str, directory: &Path) -> anyhow::Result<()> {
    ensure_adapter(&[])?;
    let page = directory.join("report.html");
    fs::create_dir_all(directory)?;
    let check =
        ["run", "--quiet", "--package", "fallline-cli", "--", "check", "arithmetic", "replays"];
    run(cargo().args(check).arg("--html").arg(&page))?;
    let seen = chromium::dom(chromium, directory, &page)?;
    let written = fs::read_to_string(&page).context("the page is gone")?;
    let rows = |html: &str| html.matches("<tr><td>").count();
    ensure!(verdict(&seen) == Some("pass"), "the page does not say that all is well: {seen}");
    ensure!(
        rows(&seen) == rows(&written) && rows(&seen) > 0,
        "the page has {} rows, and {} are seen",
        rows(&written),
        rows(&seen)
    );
    say(&format!("the page of `fallline check` says pass in {} rows", rows(&seen)));
    Ok(())
}

/// What the element of this name says.
fn verdict(html: &str) -> Option<&str> {
    let (_, rest) = html.split_once("id=\"verdict\"")?;
    let (_, rest) = rest.split_once('>')?;
    Some(rest.split_once('<')?.0)
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn the_verdict_is_found() {
        let page = "<h1>check <span id=\"verdict\" class=\"fail\">fail</span></h1>";
        assert_eq!(verdict(page), Some("fail"));
        assert_eq!(verdict("<h1>pass</h1>"), None);
    }
}
