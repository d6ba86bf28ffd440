//! Where results go, and what must not be touched on the way.

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::common::{Ran, Tensor, binary, read, run_in, write};

/// An empty folder, but for a file to quantize.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tensor = Tensor::new("w", Dtype::F32, &[300], &[1.5; 300]);
    let made = write("in", &[tensor], HashMap::new());
    fs::copy(&made, folder.path().join("in")).unwrap();
    fs::remove_file(made).unwrap();
    folder
}

fn fallline(folder: &Path, arguments: &[&str]) -> Ran {
    run_in(folder, Command::new(binary()).args(arguments))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: PathBuf) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_that_is_named_like_a_part_of_the_result_stays() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("out.part"), "half a download").unwrap();
    fs::write(path("notes"), "notes").unwrap();
    symlink("notes", path("other.part")).unwrap();
    fallline(dir.path(), &["quantize", "in", "out", "--json", "missing/x"]).says("cannot write");
    fallline(dir.path(), &["quantize", "in", "out", "--json", "report"]).good();
    fallline(dir.path(), &["quantize", "in", "other"]).good();
    assert_eq!(fs::read(path("out.part")).unwrap(), b"half a download");
    assert_eq!(fs::read(path("notes")).unwrap(), b"notes");
    let expected = ["in", "notes", "other", "other.part", "out", "out.part", "report"];
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn an_output_that_exists_keeps_its_mode_and_its_links() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("secret"), "old").unwrap();
    fs::set_permissions(path("secret"), Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(path("far")).unwrap();
    symlink("far/target", path("link")).unwrap();
    fs::write(path("usual"), "a new file of a user's").unwrap();
    for output in ["secret", "link", "new"] {
        fallline(dir.path(), &["quantize", "in", output]).good();
        assert_eq!(read(&path(output)).0.len(), 2, "{output}");
    }
    assert!(path("link").is_symlink());
    assert_eq!(names(&path("far")), ["target"]);
    assert_eq!((mode(path("secret")), mode(path("new"))), (0o600, mode(path("usual"))));
}

#[test]
fn the_input_is_kept_whatever_it_is_called() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let before = fs::read(path("in")).unwrap();
    fs::hard_link(path("in"), path("hard")).unwrap();
    symlink("in", path("soft")).unwrap();
    for output in ["in", "./in", "hard", "soft"] {
        fallline(dir.path(), &["quantize", "in", output])
            .refuses(&format!("{output} is given for input and output"));
        fallline(dir.path(), &["quantize", "soft", "new", "--json", output])
            .refuses(&format!("{output} is given for input and output"));
    }
    assert_eq!(fs::read(path("in")).unwrap(), before);
    assert_eq!(names(dir.path()), ["hard", "in", "soft"]);
}

#[test]
fn stdout_holds_the_result_alone_also_where_it_is_a_file() {
    let dir = folder();
    let to = dir.path().join("out");
    let ran = Command::new(binary())
        .args(["quantize", "in", "/dev/stdout"])
        .env("NODEVICE_SELECT", "1")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(File::create(&to).unwrap())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("\ntotal "), "{ran:?}");
    assert_eq!(read(&to).0.len(), 2);
    assert_eq!(names(dir.path()), ["in", "out"]);

    let piped = Command::new(binary())
        .args(["quantize", "in", "/dev/stdout"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(piped.stdout, fs::read(&to).unwrap());
    assert_eq!(SafeTensors::deserialize(&piped.stdout).unwrap().len(), 2);
}

#[test]
fn what_is_appended_to_stays() {
    let dir = folder();
    let script = format!(
        "echo before > log; '{}' quantize in /dev/null --json /dev/stdout >> log",
        binary().display()
    );
    run_in(dir.path(), Command::new("sh").args(["-c", &script])).good();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let json = log.strip_prefix("before\n").expect(&log);
    assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap()["format"], "int8");
}

#[test]
fn a_run_writes_no_file_that_was_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let [svg, csv] = ["train.svg", "train.csv"].map(|name| dir.path().join(name));
    fs::write(&csv, "id,label\n1,cat\n").unwrap();
    let size = ["train", "--epochs", "1", "--hidden", "4"];
    let ran = fallline(dir.path(), &size).good();
    assert!(!ran.out.contains("The curves are in"), "{}", ran.out);
    assert_eq!(names(dir.path()), ["train.csv"]);
    assert_eq!(fs::read(&csv).unwrap(), b"id,label\n1,cat\n");
    let ran = fallline(dir.path(), &[&size[..], &["-o", "train.svg"]].concat()).good();
    assert!(ran.out.ends_with("The curves are in train.svg\n"), "{}", ran.out);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
    assert_eq!(names(dir.path()), ["train.csv", "train.svg"]);
}
