//! What `fallline check` finds on a driver.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    drivers::{Driver, Origin},
    page::Row,
};
use crate::{browser::chromium, text};

/// All checks on a driver, as a row of the page.
pub(super) fn check(
    fallline: &Path,
    driver: &Driver,
    options: &[&str],
    target: &Path,
) -> anyhow::Result<Row> {
    let report = target.join("matrix").join(driver.name).with_extension("json");
    let _ = fs::remove_file(&report);
    let mut check = Command::new(fallline);
    check.arg("check").args(options).arg("--json").arg(&report);
    check.env("NODEVICE_SELECT", "1").envs(driver.variables(target)?);
    let status = check.status().with_context(|| format!("cannot run `{}`", text(&check)))?;
    let Ok(report) = fs::read_to_string(&report) else {
        bail!("`{}` ended without a report ({status})", text(&check));
    };
    let mut row = row(driver.name, &serde_json::from_str(&report)?)?;
    if driver.origin == Origin::Chromium {
        row.cells[1] += &format!(" of {}", chromium::version(chromium::find()?)?);
    }
    Ok(row)
}

/// The row that a report becomes: as expected if nothing has failed.
fn row(name: &str, report: &Value) -> anyhow::Result<Row> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let counts =
        ["pass", "fail", "known", "not_available"].map(|verdict| &report["counts"][verdict]);
    let checks = report["checks"].as_array().context("the report has no checks")?;
    let is_other = |check: &&Value| check["verdict"] != "pass";
    let other = |check: &Value| {
        let limits = match check["limits"].as_str() {
            Some("webgpu_defaults") => " with WebGPU's default limits",
            _ => "",
        };
        let verdict = word(&check["verdict"]).replace('_', " ");
        let because = [&check["note"], &check["measured"]["detail"]].map(word);
        let because = because.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        format!("{}{limits}: {verdict}, {because}", word(&check["name"]))
    };
    let others: Vec<String> = checks.iter().filter(is_other).map(other).collect();
    let adapter = &report["adapter"];
    let versions = format!("{}; {}", word(&adapter["name"]), word(&adapter["driver"]));
    let mut cells = vec![name.to_owned(), versions, word(&report["effort"])];
    cells.extend(counts.map(Value::to_string));
    cells.push(if others.is_empty() { "–".to_owned() } else { others.join("; ") });
    Ok(Row { cells, is_expected: report["passed"] == true })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(verdict: &str, note: &str) -> Value {
        let check = |name: &str, verdict: &str, note: &str| json!({ "name": name, "limits": "webgpu_defaults", "verdict": verdict, "measured": null, "note": note });
        json!({
            "passed": verdict != "fail",
            "effort": "quick",
            "counts": { "pass": 1, "fail": i32::from(verdict == "fail"), "known": 0, "not_available": 0 },
            "adapter": { "name": "some GPU", "driver": "driver 1.2" },
            "checks": [check("norms/measured", "pass", ""), check("runs/resumed", verdict, note)],
        })
    }

    #[test]
    fn a_failure_is_named_and_not_expected() -> anyhow::Result<()> {
        let good = row("gl", &report("pass", ""))?;
        assert!(good.is_expected);
        assert_eq!(good.cells, ["gl", "some GPU; driver 1.2", "quick", "1", "0", "0", "0", "–"]);
        let bad = row("gl", &report("fail", "the device is lost"))?;
        assert!(!bad.is_expected);
        let told = "runs/resumed with WebGPU's default limits: fail, the device is lost";
        assert_eq!((bad.cells[4].as_str(), bad.cells[7].as_str()), ("1", told));
        assert!(row("gl", &report("not_available", "no f16"))?.is_expected);
        assert!(row("gl", &json!({})).is_err());
        Ok(())
    }
}
