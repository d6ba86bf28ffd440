//! `fallline plot`: logs of monitored runs as pictures.

use std::fs;

use crate::common::{fallline, scratch};

/// A run of 200 steps that was skipped twice.
fn log() -> String {
    let line = |number: u32| {
        let (step, norm) = (20 * number, 1.0 / f64::from(number));
        let skipped = match number {
            2 => {
                r#","skipped":[33,38],"non_finite":[{"step":33,"tensor":"a < b"},
                  {"step":38,"tensor":"c"}]"#
            }
            _ => "",
        };
        format!(
            r#"{{"step":{step},"loss":{norm},"steps":20,"norm":{norm},"max_norm":0.5,"loss_scale":1024.0{skipped},
              "groups":[{{"name":"decay","update_ratio":1e-3,"lr":1e-3}},{{"name":"rest","update_ratio":1e-4,"lr":0.01}}]}}"#
        )
        .replace('\n', " ")
    };
    (1..=10).map(|number| line(number) + "\n").collect()
}

#[test]
fn a_log_becomes_a_picture() {
    let (log_file, svg) = (scratch("run.jsonl"), scratch("run.svg"));
    fs::write(&log_file, log()).expect("a file");
    let arguments = [log_file.as_os_str(), "-o".as_ref(), svg.as_os_str()];
    let ran = fallline(&[&["plot".as_ref()], &arguments[..]].concat()).good();
    assert!(ran.out.starts_with("10 steps are drawn in ") && ran.err.is_empty(), "{ran:?}");
    let text = fs::read_to_string(&svg).expect("a picture");
    let shown = |what: &str| text.lines().filter(|line| line.trim() == what).count();
    for title in ["loss", "gradient norm", "update / weight", "learning rate", "loss scale"] {
        assert_eq!(shown(title), 1, "{title}");
    }
    assert_eq!((shown("decay"), shown("rest"), shown("limit")), (2, 2, 1));
    assert_eq!(shown("run.jsonl: steps 20 to 200"), 1);
    assert_eq!(shown("step 33: first gradient not finite, in a &lt; b"), 1);
    assert_eq!(shown("2 skipped steps"), 1);
}

#[test]
fn what_is_no_log_is_said_by_its_line() {
    let (log_file, svg) = (scratch("run.jsonl"), scratch("run.svg"));
    // Of a run before.
    for file in [&log_file, &svg] {
        drop(fs::remove_file(file));
    }
    let plot = || {
        let arguments = [log_file.as_os_str(), "-o".as_ref(), svg.as_os_str()];
        fallline(&[&["plot".as_ref()], &arguments[..]].concat())
    };
    plot().says("cannot read");
    fs::write(&log_file, "\n").expect("a file");
    plot().says("has no records");
    fs::write(&log_file, log() + "loss 0.5\n").expect("a file");
    plot().says("line 11: expected value");
    assert!(!svg.exists());
    // A run that is writing its last line.
    fs::write(&log_file, log() + "{\"step\":2").expect("a file");
    plot().good();
    let arguments = ["plot".as_ref(), log_file.as_os_str(), "-o".as_ref(), log_file.as_os_str()];
    fallline(&arguments).refuses("is given for input and output");
}
