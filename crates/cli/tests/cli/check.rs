//! `fallline check`, as a user runs it.

use std::fs;

use fallline::RULE_NAMES;
use serde_json::Value;

use crate::common::{fallline, scratch, unread};

/// Checks that take no time.
const SOME: [&str; 4] = ["check", "arithmetic", "norms", "replays"];

#[test]
fn checks_are_lines_and_json_and_a_page() {
    let (json, html) = (scratch("report.json"), scratch("report.html"));
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let ran = fallline(&[&SOME[..], &files].concat()).good();
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["effort"], "default");
    assert_eq!(report["passed"], true);
    assert!(report["limits"]["max_buffer_size"].is_u64(), "{report}");
    assert!(report["features"]["subgroup"].is_boolean(), "{report}");
    let checks = report["checks"].as_array().unwrap();
    let of = |limits: &str| checks.iter().filter(|check| check["limits"] == limits).count();
    // Arithmetic does not depend on limits.
    assert_eq!((of("adapter"), of("webgpu_defaults")), (20, 10));
    assert_eq!(report["counts"]["pass"], 30);
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<span id=\"verdict\" class=\"pass\">pass</span>"), "{page}");
    assert_eq!(page.matches("<tr><td>").count(), checks.len());
    for check in checks {
        let name = check["name"].as_str().unwrap();
        assert_eq!(check["verdict"], "pass", "{check}");
        assert!(check["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{check}");
        let told = |line: &str| line.starts_with(name) && line.contains(" pass ");
        assert!(ran.out.lines().any(told), "{name}: {}", ran.out);
        assert!(page.contains(&format!("<td>{name}</td>")), "{name}");
    }
    let division = &checks[2];
    assert_eq!(division["name"], "arithmetic/division");
    assert_eq!(division["measured"]["unit"], "ULP");
    assert!(division["measured"]["value"].as_f64().is_some_and(|error| error <= 2.5));
    assert!(
        ran.out.contains("\npass: 30 passed, 0 failed, 0 known, 0 not available in "),
        "{ran:?}"
    );
}

#[test]
fn quick_steps_every_rule_once() {
    let json = scratch("quick.json");
    fallline(&["check", "--quick", "rules", "--json", json.to_str().unwrap()]).good();
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["effort"], "quick");
    let checks = report["checks"].as_array().unwrap();
    let names = checks.iter().map(|check| check["name"].as_str().unwrap().to_owned());
    assert!(names.eq(RULE_NAMES.iter().map(|name| format!("rules/{name}"))));
    let measured = |check: &&Value| check["measured"]["value"].is_f64();
    assert!(checks.iter().filter(measured).count() > RULE_NAMES.len() / 2, "{report}");
    for check in checks.iter().filter(measured) {
        assert!(check["measured"]["at"].as_str().is_some_and(|at| at.contains("] in step ")));
    }
}

#[test]
fn wrong_usage_of_check() {
    assert_eq!(fallline(&["check", "--all", "--quick"]).code, Some(2));
    fallline(&["check", "rules", "speed"])
        .refuses("no check's name contains 'speed' (families: arithmetic, ");
    let json = scratch("same");
    let twice =
        ["check", "norms", "--json", json.to_str().unwrap(), "--html", json.to_str().unwrap()];
    fallline(&twice).refuses("is given for two outputs");
}

#[test]
fn nobody_has_to_read_the_lines() {
    unread(&["check", "norms"]).good();
}

/// It can freeze a machine.
#[test]
fn memory_is_used_up_only_on_request() {
    let ran = fallline(&["check", "memory"]);
    ran.refuses("no check's name contains 'memory'");
}
