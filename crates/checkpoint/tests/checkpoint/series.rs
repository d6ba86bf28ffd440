//! The checkpoints of a run, one after the other.

use std::fs;

use fallline::{Dtype, Group, Lion, Precision};
use fallline_checkpoint::{Checkpoints, Error};
use serde::{Deserialize, Serialize};

use crate::common::{begin, differ, gpu, held, optimizer, run, says, specs};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Extra {
    epoch: u64,
    lr: f64,
    text: String,
}

#[test]
fn a_run_saves_and_finds_its_last() {
    let gpu = gpu();
    let (group, specs) = (Group::new("all", Lion::new()), specs(Dtype::F32, Precision::Nearest));
    let folder = tempfile::tempdir().unwrap();
    // Made by the first save.
    let folder = folder.path().join("runs/a");
    let checkpoints = Checkpoints::new(&folder).keep(2);
    let mut straight = optimizer(&gpu, &group, &specs, 1);
    begin(&straight);
    // Whatever a caller has comes back to the bit, and text that looks like a checksum's place is text.
    let extra = |step: u64| Extra {
        epoch: step,
        lr: 0.1 + f64::EPSILON * 7.0 / (step + 1) as f64,
        text: "\"crc32\":\"01234567\" \u{1f600}".into(),
    };
    for step in [9, 10, 11] {
        run(&mut straight, step..step + 1);
        let path = checkpoints.save(&straight, step, &extra(step)).unwrap();
        assert_eq!(path, checkpoints.path(step));
    }
    assert_eq!(checkpoints.steps().unwrap(), [10, 11]);

    let latest = checkpoints.latest().unwrap().unwrap();
    assert_eq!((latest.step(), latest.extra::<Extra>().unwrap()), (11, extra(11)));
    let error = says(&latest.extra::<Vec<u8>>().unwrap_err());
    assert!(error.contains("checkpoint-11.safetensors cannot be read from JSON: "), "{error}");
    let groups = latest.groups();
    assert_eq!((&*groups[0].name, &*groups[0].rule, groups.len()), ("all", "lion", 1));
    assert_eq!(groups[0].options["betas"], serde_json::json!([0.9, 0.99]));
    assert_eq!(groups[0].tensors.len(), specs.len());
    latest.verify().unwrap();
    let mut resumed = optimizer(&gpu, &group, &specs, 2);
    latest.load(&mut resumed).unwrap();
    assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0]);

    // The same step once more takes the place of the first, with the same bytes for the same contents.
    let before = fs::read(checkpoints.path(11)).unwrap();
    checkpoints.save(&resumed, 11, &extra(11)).unwrap();
    assert_eq!(fs::read(checkpoints.path(11)).unwrap(), before);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn what_killed_saves_left_is_removed_and_nothing_else() {
    let gpu = gpu();
    let (group, specs) = (Group::new("all", Lion::new()), specs(Dtype::F32, Precision::Nearest));
    let folder = tempfile::tempdir().unwrap();
    let others = ["notes.txt", ".checkpoint-3.safetensors", ".model.safetensors.x1.part", "x.part"];
    let ours = [".checkpoint-3.safetensors.aB3dE9.part", ".checkpoint-7.safetensors.Zz00zZ.part"];
    for name in others.iter().chain(&ours) {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    let optimizer = optimizer(&gpu, &group, &specs, 1);
    Checkpoints::new(folder.path()).save(&optimizer, 7, &()).unwrap();
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut left: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let mut expected = [others.as_slice(), &["checkpoint-7.safetensors"]].concat();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// A directory cannot be renamed over: the save fails behind its last byte.
#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let gpu = gpu();
    let (group, specs) = (Group::new("all", Lion::new()), specs(Dtype::F32, Precision::Nearest));
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    fs::create_dir(checkpoints.path(3)).unwrap();
    let optimizer = optimizer(&gpu, &group, &specs, 1);
    let error = checkpoints.save(&optimizer, 3, &()).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write", .. }), "{error:?}");
    assert!(error.to_string().ends_with("checkpoint-3.safetensors"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let missing = folder.path().join("missing/a.safetensors");
    let error = fallline_checkpoint::Checkpoint::save(&missing, &optimizer, 3, &()).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == missing), "{error:?}");
    // JSON has no keys but strings.
    let extra = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = says(&checkpoints.save(&optimizer, 4, &extra).unwrap_err());
    assert!(error.contains("checkpoint-4.safetensors cannot become JSON: "), "{error}");
    assert!(!checkpoints.path(4).exists());
}
