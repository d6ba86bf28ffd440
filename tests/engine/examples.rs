//! The examples, run as a user runs them.

use std::process::Command;

/// Cargo builds the examples along with the tests, into a folder beside theirs.
fn run(name: &str) -> String {
    let tests = std::env::current_exe().expect("this test is a file");
    let profile = tests.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let example = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(&example)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; `cargo test` builds it", example.display()));
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed: {err}");
    String::from_utf8(out).expect("examples print text")
}

#[test]
fn minimal() {
    assert!(run("minimal").contains("farthest from its target"));
}

#[test]
fn param_groups() {
    let out = run("param_groups");
    assert!(out.contains("one pass of 4 dispatches"), "{out}");
    assert!(out.contains("embedding  lion    5 steps"), "{out}");
}

#[test]
fn borrowed() {
    assert!(run("borrowed").contains("weight [30, 7] is now -0.25"));
}

#[test]
fn mixed_precision() {
    let out = run("mixed_precision");
    assert!(
        out.contains("of 400 steps skipped") && out.contains("farthest from its goal"),
        "{out}"
    );
}

#[test]
fn low_bit() {
    let out = run("low_bit");
    // Two tensors with 3.125 bytes, one with 8, one with 2.03.
    assert!(out.contains("state: 1067008 bytes"), "{out}");
    assert!(out.contains("34816 bytes of blocks"), "{out}");
}

#[test]
fn custom_rule() {
    let out = run("custom_rule");
    assert!(out.contains("the same bits"), "{out}");
}

#[test]
fn wgpu_runtime() {
    let out = run("wgpu_runtime");
    assert!(out.contains("after 300 steps the weights are at most 0.00"), "{out}");
}
