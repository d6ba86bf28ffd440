//! Logs as they are written, read, and resumed.

use std::io::ErrorKind;

use super::*;

fn records() -> Vec<Record> {
    let norms = |name: &str| RecordNorms {
        name: name.into(),
        norm: 0.1,
        update_norm: 1e-30,
        weight_norm: 3.0,
        update_ratio: Some(3.3e-31),
        lr: 1e-3,
        ..RecordNorms::default()
    };
    let first = Record {
        step: 20,
        loss: Some(2.5),
        steps: 20,
        clipped: 3,
        norm: 0.2,
        max_norm: Some(1.0),
        clip_factor: 1.0,
        loss_scale: 65536.0,
        suggested_max_norm: Some(0.3),
        groups: vec![norms("all"), norms("a \"b\", c")],
        tensors: vec![norms("w")],
        ..Record::default()
    };
    let non_finite = vec![NonFiniteStep { step: 33, tensor: "h.0/attn".into() }];
    let second = Record {
        step: 40,
        skipped: vec![33, 40],
        non_finite,
        norm: f32::INFINITY,
        groups: vec![RecordNorms { norm: f32::NAN, update_ratio: None, ..norms("all") }],
        tensors: vec![norms("later")],
        ..Record::default()
    };
    vec![first, second]
}

fn written(format: LogFormat) -> String {
    let mut out = Vec::new();
    let mut log = Log::new(&mut out, format);
    records().iter().for_each(|record| log.write(record).unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn json_lines_come_back_with_null_for_what_is_not_finite() {
    let text = written(LogFormat::JsonLines);
    assert!(text.lines().next().unwrap().starts_with("{\"step\":20,\"loss\":2.5,\"steps\":20,"));
    assert_eq!(text.lines().count(), 2);
    let found = read_json_lines(text.as_bytes()).unwrap();
    assert_eq!(found[0], records()[0]);
    assert!(found[1].norm.is_nan() && found[1].groups[0].norm.is_nan());
    assert_eq!(found[1].non_finite, records()[1].non_finite);
    assert_eq!(found[1].skipped, [33, 40]);
}

#[test]
fn lines_of_other_versions_are_read_and_unfinished_ones_passed_over() {
    let text = "{\"step\":1,\"temperature\":{\"new\":[1,null]},\"groups\":[{\"name\":\"a\",\"x\":1}]}\n\n{\"st";
    let found = read_json_lines(text.as_bytes()).unwrap();
    assert_eq!((found.len(), found[0].step, found[0].groups[0].name.as_str()), (1, 1, "a"));
    let error = read_json_lines("{\"step\":1}\n{\"step\":\"x\"}\n".as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().starts_with("line 2: invalid type"), "{error}");
}

#[test]
fn csv_has_the_columns_of_the_first_record() {
    let text = written(LogFormat::Csv);
    let lines: Vec<&str> = text.lines().collect();
    let head = "step,loss,steps,clipped,skipped,norm,max_norm,clip_factor,loss_scale,\
                suggested_max_norm,non_finite_step,non_finite_tensor,all/norm,";
    assert!(lines[0].starts_with(head), "{}", lines[0]);
    assert!(lines[0].contains(",\"a \"\"b\"\", c/norm\",") && lines[0].ends_with(",tensor:w/lr"));
    assert!(lines[1].starts_with("20,2.5,20,3,0,0.2,1,1,65536,0.3,,,0.1,"), "{}", lines[1]);
    assert!(lines[2].starts_with("40,,0,0,2,inf,,0,0,,33,h.0/attn,NaN,"), "{}", lines[2]);
    // Of what has no column, or is not told any more.
    assert!(lines[2].ends_with(",,,,,,,,,,"), "{}", lines[2]);
    assert_eq!(lines.len(), 3);
}

/// A log that is cut behind a step and gets the second record again.
fn resumed(text: &str, format: LogFormat, step: u32) -> String {
    let head = LogHead::read(text.as_bytes(), format, step).unwrap();
    let mut out = text.as_bytes()[..usize::try_from(head.len_bytes()).unwrap()].to_vec();
    Log::resume(&mut out, format, head).write(&records()[1]).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_behind_a_step_is_cut_and_comes_again() {
    for format in [LogFormat::JsonLines, LogFormat::Csv] {
        let text = written(format);
        for step in [20, 39] {
            assert_eq!(resumed(&text, format, step), text);
        }
        // Cut off wherever a process was killed.
        let first = LogHead::read(text.as_bytes(), format, 20).unwrap();
        for end in usize::try_from(first.len_bytes()).unwrap()..text.len() {
            assert_eq!(resumed(&text[..end], format, 40), text, "{end}");
        }
        let whole = LogHead::read(text.as_bytes(), format, 40).unwrap();
        assert_eq!(whole.len_bytes(), text.len() as u64);
        let none = LogHead::read("".as_bytes(), format, 40).unwrap();
        assert_eq!((none.len_bytes(), none), (0, LogHead::default()));
    }
    // Without any record of its own, the header stays.
    let text = written(LogFormat::Csv);
    let header = text.split_inclusive('\n').next().unwrap();
    let expected = format!("{header}{}", text.lines().last().unwrap());
    assert_eq!(resumed(&text, LogFormat::Csv, 1).trim_end(), expected);
}

#[test]
fn names_of_any_characters_survive_a_header() {
    let names = ["a\nb", "\"", "tensor:x/norm", ",\"\",", ""];
    let norms = names.map(|name| RecordNorms { name: name.into(), ..RecordNorms::default() });
    let record = |step| Record { step, groups: norms.to_vec(), ..Record::default() };
    let mut text = Vec::new();
    let mut log = Log::new(&mut text, LogFormat::Csv);
    (1..=2).for_each(|step| log.write(&record(step)).unwrap());
    let head = LogHead::read(text.as_slice(), LogFormat::Csv, 1).unwrap();
    let mut again = text[..usize::try_from(head.len_bytes()).unwrap()].to_vec();
    Log::resume(&mut again, LogFormat::Csv, head).write(&record(2)).unwrap();
    assert_eq!(String::from_utf8(again), String::from_utf8(text));
}

#[test]
fn what_is_no_log_is_not_resumed() {
    let error = |text: &str, format| {
        let error = LogHead::read(text.as_bytes(), format, 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        error.to_string()
    };
    let found = error("{\"step\":1}\nhello\n", LogFormat::JsonLines);
    assert!(found.starts_with("line 2: expected value"), "{found}");
    let found = error("step,loss\n1,2\n", LogFormat::Csv);
    assert_eq!(found, "line 1: it is not the header of a log");
    let text = written(LogFormat::Csv).replace("\n20,", "\ntwenty,");
    assert_eq!(error(&text, LogFormat::Csv), "line 2: it begins with no step");
}
