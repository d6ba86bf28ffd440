//! The example, run as a user runs it.

use std::process::Command;

#[test]
fn checkpoint() {
    // Cargo builds examples along with the tests, into a folder beside theirs.
    let tests = std::env::current_exe().expect("this test is a file");
    let profile = tests.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let name = format!("checkpoint{}", std::env::consts::EXE_SUFFIX);
    let example = profile.join("examples").join(name);
    let output = Command::new(&example)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; `cargo test` builds it", example.display()));
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it failed: {err}");
    let out = String::from_utf8(out).expect("examples print text");
    assert!(out.starts_with("resumed behind step 40\n"), "{out}");
    assert!(out.ends_with("kept are those of steps [40, 60]\nthe same bits\n"), "{out}");
}
