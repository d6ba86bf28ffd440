//! Everything that an output can be, and what is left when it cannot be written.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A folder of this test's own, empty.
fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The names in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("it is there");
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.expect("it can be read").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("it is there")
}

/// Writes as a command does.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    Outputs::default().open(path)?.write(bytes)
}

/// Why the second of these cannot be opened.
fn refusal(inputs: &[&Path], paths: [&Path; 2]) -> String {
    let mut outputs = Outputs::beside(inputs);
    let opened = paths.map(|path| outputs.open(path));
    let [_, Err(error)] = opened else { return "none".into() };
    format!("{error:#}")
}

#[test]
fn what_cannot_be_written_is_found_out_and_nothing_is_left() {
    let dir = folder();
    let (path, file) = (dir.path(), dir.path().join("train.svg"));
    let open = |path: &Path| Outputs::default().open(path).map(drop);
    let says = |path: PathBuf, expected: &str| {
        let found = format!("{:#}", open(&path).expect_err("it cannot be written"));
        assert!(found.starts_with("cannot write ") && found.contains(expected), "{found}");
    };
    says(path.to_owned(), "it is a directory");
    says(path.join("missing/train.svg"), "No such file");
    for odd in ["new/", "new/.", ""] {
        says(if odd.is_empty() { PathBuf::new() } else { path.join(odd) }, "no name of a file");
    }
    assert!(open(&file).is_ok());
    assert_eq!(names(&dir), [""; 0]);
    fs::write(&file, "old").expect("a file");
    assert!(open(&file).is_ok());
    assert_eq!((text(&file).as_str(), names(&dir)), ("old", vec!["train.svg".to_owned()]));
}

#[test]
fn one_file_is_not_given_twice() {
    let dir = folder();
    let [a, b, same] = ["a", "b", "./a"].map(|name| dir.path().join(name));
    for there in [false, true] {
        assert_eq!(refusal(&[], [&a, &b]), "none");
        assert!(refusal(&[], [&a, &a]).ends_with("a is given for two outputs"));
        assert!(refusal(&[], [&a, &same]).ends_with("./a is given for two outputs"));
        if !there {
            fs::write(&a, "old").expect("a file");
        }
    }
    assert!(refusal(&[&a], [&b, &same]).ends_with("./a is given for input and output"));
    // A name that a part of the result might have.
    assert_eq!(refusal(&[&a], [&b, &dir.path().join("a.part")]), "none");
}

#[test]
fn a_file_is_replaced_whole_and_nothing_beside_it() {
    let dir = folder();
    let (file, part) = (dir.path().join("result"), dir.path().join("result.part"));
    fs::write(&part, "half a download").expect("a file");
    for text_of_it in ["the longer one", "short"] {
        write(&file, text_of_it.as_bytes()).expect("written");
        assert_eq!(text(&file), text_of_it);
    }
    assert_eq!(text(&part), "half a download");
    assert_eq!(names(&dir), ["result", "result.part"]);
}

#[cfg(unix)]
mod unix {
    use std::{
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        process::{Command, Stdio},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it is there").permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_new_one_has_the_usual() {
        let dir = folder();
        let [secret, new, usual] = ["secret", "new", "usual"].map(|name| dir.path().join(name));
        for bits in [0o600, 0o640, 0o777] {
            fs::write(&secret, "old").expect("a file");
            fs::set_permissions(&secret, fs::Permissions::from_mode(bits)).expect("its own");
            write(&secret, b"new").expect("written");
            assert_eq!((mode(&secret), text(&secret).as_str()), (bits, "new"));
        }
        write(&new, b"new").expect("written");
        fs::write(&usual, "new").expect("a file");
        assert_eq!(mode(&new), mode(&usual));
    }

    #[test]
    fn links_stay_and_what_they_name_is_written() {
        let dir = folder();
        let [file, link, chain, dangling] =
            ["file", "link", "chain", "dangling"].map(|name| dir.path().join(name));
        fs::create_dir(dir.path().join("far")).expect("a folder");
        fs::write(&file, "old").expect("a file");
        symlink(&file, &link).expect("a link");
        symlink("link", &chain).expect("a link to a link");
        symlink("far/target", &dangling).expect("a link to nothing");
        for (link, target) in
            [(&link, &file), (&chain, &file), (&dangling, &dir.path().join("far/target"))]
        {
            write(link, b"new").expect("written");
            assert!(link.is_symlink(), "{}", link.display());
            assert_eq!(text(target), "new");
            fs::write(target, "old").expect("a file");
        }
        assert_eq!(names(&dir), ["chain", "dangling", "far", "file", "link"]);
        // The same file by two names, there already or not.
        assert!(refusal(&[], [&file, &chain]).contains("two outputs"));
        fs::remove_file(dir.path().join("far/target")).expect("removed");
        assert!(refusal(&[], [&dangling, &dir.path().join("far/target")]).contains("two outputs"));
        let ring = dir.path().join("ring");
        symlink("ring", &ring).expect("a link to itself");
        assert!(write(&ring, b"new").is_err());
    }

    #[test]
    fn all_names_of_a_file_stay_its_names() {
        let dir = folder();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        fs::write(&one, "the old one").expect("a file");
        fs::hard_link(&one, &other).expect("another name");
        let number = one.metadata().expect("it is there").ino();
        assert!(refusal(&[&one], [&dir.path().join("x"), &other]).contains("input and output"));
        assert!(refusal(&[], [&one, &other]).contains("two outputs"));
        write(&one, b"new").expect("written");
        assert_eq!((text(&one), text(&other)), ("new".into(), "new".into()));
        assert_eq!(one.metadata().expect("it is there").ino(), number);
        assert_eq!(names(&dir), ["one", "other"]);
    }

    #[test]
    fn special_files_stay_what_they_are() {
        let dir = folder();
        let (null, link) = (PathBuf::from("/dev/null"), dir.path().join("link"));
        symlink(&null, &link).expect("a link");
        let mut outputs = Outputs::default();
        for path in [&null, &null, &link] {
            outputs.open(path).expect("it can be written").write(b"gone").expect("written");
            assert!(!path.metadata().expect("it is there").is_file(), "{}", path.display());
        }
        assert!(link.is_symlink());
        assert_eq!(names(&dir), ["link"]);
    }

    #[test]
    fn a_named_pipe_is_written_when_somebody_reads_it() {
        let dir = folder();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let output = Outputs::default().open(&pipe).expect("nobody has to read it yet");
        let reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("cat");
        output.write(b"through it").expect("written");
        assert_eq!(reader.wait_with_output().expect("it ends").stdout, b"through it");
        assert_eq!(names(&dir), ["pipe"]);
    }

    /// As a file is that is mounted alone, or whose folder is not the user's.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_in_a_folder_that_takes_no_other_is_written_into() {
        let name = Path::new("/proc/self/comm");
        let old = text(name);
        write(name, b"fallline").expect("written");
        assert_eq!(text(name), "fallline\n");
        fs::write(name, old.trim_end()).expect("as it was");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let error = write(Path::new("/dev/full"), b"more").expect_err("it is full");
        assert!(format!("{error:#}").starts_with("cannot write /dev/full: No space left"));
    }

    const FOLDER: &str = "FALLLINE_TEST_FOLDER";

    /// Files of this process may not grow: the old one stays, and nothing lies beside it.
    #[test]
    fn what_has_no_room_leaves_nothing_behind() {
        let dir = folder();
        fs::write(dir.path().join("result"), "old").expect("a file");
        let test = std::env::current_exe().expect("this test");
        // Of 512 or 1024 bytes each. Without the trap the signal would end the process.
        let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" --ignored --exact \"$1\"";
        let ran = Command::new("sh")
            .args(["-c", limited])
            .arg(test)
            .arg("output::tests::unix::has_no_room")
            .env(FOLDER, dir.path())
            .output()
            .expect("sh");
        let out = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && out.contains("1 passed"), "{ran:?}");
        assert_eq!(text(&dir.path().join("result")), "old");
        assert_eq!(names(&dir), ["result"]);
    }

    #[test]
    #[ignore = "run by another test in a process whose files may not grow"]
    fn has_no_room() {
        let Some(folder) = std::env::var_os(FOLDER) else { return };
        let folder = PathBuf::from(folder);
        for name in ["result", "new"] {
            let error = write(&folder.join(name), &[0; 1 << 20]).expect_err("it is too large");
            assert!(format!("{error:#}").starts_with("cannot write "), "{error:#}");
        }
    }
}
