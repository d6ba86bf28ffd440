//! `fallline bench`, as a user runs it.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::common::{binary, fallline, run, scratch};

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the JSON was written");
    serde_json::from_str(&text).expect("it is a list")
}

#[test]
fn moving_gradients_are_measured() {
    let path = scratch("moving.json");
    let json = path.to_str().expect("a name in UTF-8");
    let subject = ["--model", "resnet50", "--width", "0.05", "--steps", "3", "--json", json];
    let ran =
        fallline(&[&["bench", "--borrowed", "--moving", "--clip", "1"], &subject[..]].concat())
            .good();
    assert!(ran.out.contains("40 to other buffers"), "{}", ran.out);
    let rows = rows(&path);
    let moved: Vec<_> = rows.iter().map(|row| row["moved"].as_u64()).collect();
    assert_eq!(moved, [Some(0), Some(161), Some(40)]);
    for row in &rows {
        assert!(row["places_us"].is_number() && row["encode_us"].is_number());
        assert_eq!(row["places_us_quartiles"].as_array().map(Vec::len), Some(2));
    }
    let ran = fallline(&["bench", "--moving"]);
    assert!(ran.code == Some(2) && ran.err.contains("--borrowed"), "{ran:?}");
}

#[test]
fn every_row_has_the_promised_keys() {
    let path = scratch("rows.json");
    let json = path.to_str().expect("a name in UTF-8");
    let model = ["--model", "resnet50,one-big", "--rule", "adamw,lion"];
    let size = ["--width", "0.05", "--steps", "2", "--json", json];
    let ran = fallline(&[&["bench"], &model[..], &size[..]].concat()).good();
    // What the columns mean is told by --help.
    let (help, legend) = (fallline(&["bench", "--help"]).good(), "median and quartiles");
    assert!(help.out.contains(legend) && !ran.out.contains(legend), "{}", ran.out);
    assert!(ran.out.contains("roofline") && ran.out.contains("unfused ms"), "{}", ran.out);
    let rows = rows(&path);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        for key in ["name", "backend", "driver"] {
            assert!(row["adapter"][key].is_string(), "{key}");
        }
        for key in ["tensors", "params", "width", "ms_per_step", "ns_per_param", "gb_per_s"] {
            assert!(row[key].as_f64().is_some_and(|value| value > 0.0), "{key}");
        }
        for key in
            ["copy_gb_per_s", "roofline", "dispatches", "encode_us", "build_ms", "first_step_ms"]
        {
            assert!(row[key].as_f64().is_some_and(|value| value > 0.0), "{key}");
        }
        for key in ["state", "param", "grad"] {
            assert_eq!(row[key], "f32", "{key}");
        }
        for key in ["clip", "loss_scale", "master"] {
            assert_eq!(row[key], "none", "{key}");
        }
        assert!(row["plain"].is_null());
        for key in ["per_tensor", "unfused"] {
            assert!(row["baselines"][key]["ms_per_step"].is_f64(), "{key}");
        }
        assert_eq!(row["passes"], 1);
        assert_eq!(row["schema"], 1);
        for key in ["ms_per_step", "roofline", "copy_gb_per_s"] {
            let rounds: Vec<f64> = serde_json::from_value(row["rounds"][key].clone()).unwrap();
            assert_eq!(rounds.len(), 2, "{key}");
            // The median of two.
            let median = (rounds[0] + rounds[1]) / 2.0;
            assert!((row[key].as_f64().unwrap() / median - 1.0).abs() < 1e-9, "{key}: {row}");
        }
        assert!(["gpu timestamps", "wall"].contains(&row["timing"].as_str().unwrap_or("")));
    }
    let of = |model: &str, rule: &str| {
        let found = rows.iter().find(|row| row["model"] == model && row["rule"] == rule);
        found.expect("a row for each model and rule")
    };
    assert_eq!(of("resnet50", "adamw")["tensors"], 161);
    assert_eq!(of("one-big", "adamw")["bytes_per_param"], 28.0);
    assert_eq!(of("one-big", "lion")["bytes_per_param"], 20.0);
    // The number of dispatches does not depend on the number of tensors.
    assert_eq!(of("resnet50", "adamw")["dispatches"], of("one-big", "adamw")["dispatches"]);
}

#[test]
fn all_rules_are_one_table() {
    let path = scratch("overview.json");
    let json = path.to_str().expect("a name in UTF-8");
    let size = ["--model", "one-big", "--width", "0.05", "--steps", "1", "--json", json];
    let ran = fallline(&[&["bench", "--all-rules", "--markdown"], &size[..]].concat()).good();
    let lines: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("| ")).collect();
    let of: Vec<&str> = lines[2..].iter().filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(of, fallline::RULE_NAMES);
    let adamw = lines.iter().find(|line| line.starts_with("| `adamw` |")).expect("a row");
    // A code for a byte and a scale for 256 of them, twice; what is padded is little.
    let cells = "| `torch.optim.AdamW` | `exp_avg`, `exp_avg_sq` | any | 8.02 | 2.04 | 28 |";
    assert!(adamw.contains(cells), "{adamw}");
    let legend = "any is f32, bf16, int8, int4, fp8, companded, of slots";
    assert!(ran.out.contains(legend), "{}", ran.out);
    assert_eq!(rows(&path).len(), of.len());
    let ran = fallline(&["bench", "--all-rules", "--model", "one-big,resnet50"]);
    assert!(ran.code == Some(2) && ran.err.contains("one --model"), "{ran:?}");
}

#[test]
fn borrowed_buffers_are_measured_and_baselines_can_be_left_out() {
    let path = scratch("borrowed.json");
    let json = path.to_str().expect("a name in UTF-8");
    let what = ["bench", "--model", "vit-b16", "--rule", "sgd", "--borrowed", "--no-baselines"];
    fallline(&[&what[..], &["--width", "0.02", "--steps", "1", "--json", json]].concat()).good();
    let row = &rows(&path)[0];
    assert_eq!(row["borrowed"], true);
    assert_eq!(row["bytes_per_param"], 20.0);
    assert!(row["baselines"]["unfused"].is_null());
}

#[test]
fn both_numbers_of_vec4s_a_lane_are_measured() {
    let path = scratch("lane_vec4s.json");
    let json = path.to_str().expect("a name in UTF-8");
    let what = ["bench", "--model", "one-big", "--state", "int8", "--no-baselines"];
    let size = ["--width", "0.02", "--steps", "1", "--lane-vec4s", "1,2", "--json", json];
    let ran = fallline(&[&what[..], &size].concat()).good();
    assert!(ran.out.contains("adamw, 1 vec4"), "{}", ran.out);
    let counts: Vec<_> = rows(&path).iter().map(|row| row["lane_vec4s"].as_u64()).collect();
    assert_eq!(counts, [Some(1), Some(2)]);
    let ran = fallline(&["bench", "--all-rules", "--lane-vec4s", "1,2"]);
    assert!(ran.code == Some(2) && ran.err.contains("one --lane-vec4s"), "{ran:?}");
}

#[test]
fn mixed_precision_is_measured_against_the_plain_step() {
    let path = scratch("mixed.json");
    let json = path.to_str().expect("a name in UTF-8");
    let size = ["--width", "0.02", "--steps", "2", "--no-baselines", "--json", json];
    for (options, bytes) in [
        (&["--clip", "1", "--loss-scale", "dynamic"][..], 32.0),
        (&["--param", "bf16", "--master", "remainder"], 26.0),
        (&["--param", "bf16", "--master", "remainder", "--state", "bf16"], 18.0),
        (&["--state", "int8"], 16.0625),
        (&["--param", "f16", "--master", "f32", "--clip", "inf", "--borrowed"], 32.0),
        (&["--grad", "f16", "--loss-scale", "128"], 28.0),
    ] {
        fallline(&[&["bench"], options, &size].concat()).good();
        let row = &rows(&path)[0];
        assert_eq!(row["bytes_per_param"].as_f64(), Some(bytes), "{options:?}");
        assert!(row["plain"]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{options:?}");
    }
    assert_eq!(rows(&path)[0]["grad"], "f16");
    fallline(&["bench", "--master", "remainder"])
        .refuses("--master remainder needs --param bf16, found --param f32");
}

#[test]
fn rules_that_look_at_whole_tensors_are_measured() {
    let path = scratch("whole.json");
    let json = path.to_str().expect("a name in UTF-8");
    let size = ["--width", "0.05", "--steps", "2", "--no-baselines", "--json", json];
    let row = |rule: &str, options: &[&str]| {
        let rule = ["bench", "--model", "one-big", "--rule", rule];
        fallline(&[&rule[..], options, &size].concat()).good();
        rows(&path).remove(0)
    };
    for (rule, options, bytes) in [
        // The update, the sums over the tensor, those over rows and columns.
        ("adafactor", &[][..], 12.0 + 8.0 + 4.0),
        ("adafactor", &["--param", "bf16"], 6.0 + 4.0 + 2.0),
        ("adafactor", &["--clip", "1"], 16.0 + 8.0 + 4.0),
        ("adam_mini", &[], 12.0 + 8.0 + 4.0),
        ("prodigy", &[], 12.0 + 8.0 + 3.0 * 16.0),
        // s and p0 are exact in every format.
        ("prodigy", &["--state", "bf16"], 12.0 + 8.0 + 3.0 * 12.0),
        ("prodigy", &["--ema-decay", "0.5"], 12.0 + 8.0 + 3.0 * 16.0 + 8.0),
        // A reduction of any rule; one is enough.
        ("lion", &["--caution"], 12.0 + 8.0 + 12.0),
        ("adafactor", &["--caution", "--update-clipping", "0.5"], 12.0 + 8.0 + 4.0),
        ("lion", &["--cautious-decay"], 12.0 + 8.0),
        ("lion", &["--swa-start", "9"], 12.0 + 8.0 + 8.0),
        ("lion", &["--swa-every", "9"], 12.0 + 8.0),
    ] {
        let row = row(rule, options);
        assert_eq!(row["bytes_per_param"].as_f64(), Some(bytes), "{rule} {options:?}");
        assert!(row["roofline"].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
    }
    let adafactor = row("adafactor", &[]);
    assert!(adafactor["state_bytes_per_param"].as_f64().unwrap() < 1.0, "{adafactor}");
    let prodigy = row("prodigy", &[]);
    assert!((16.0..16.5).contains(&prodigy["state_bytes_per_param"].as_f64().unwrap()));
}

#[test]
fn what_comes_after_the_rule_is_measured_against_the_plain_step() {
    let path = scratch("after.json");
    let json = path.to_str().expect("a name in UTF-8");
    let size = ["bench", "--width", "0.02", "--steps", "2", "--no-baselines", "--json", json];
    for (options, key, bytes) in
        [(["--ema-decay", "0.9"], "ema_decay", 36.0), (["--lookahead-k", "5"], "lookahead_k", 28.0)]
    {
        let ran = fallline(&[&size[..], &options].concat()).good();
        let words: Vec<&str> = ran.out.split_whitespace().collect();
        assert!(words.join(" ").contains(", in the arena, with "), "{}", ran.out);
        let row = &rows(&path)[0];
        assert_eq!(row["bytes_per_param"].as_f64(), Some(bytes), "{options:?}");
        assert_eq!(row[key].as_f64(), options[1].parse().ok(), "{row}");
        assert_eq!(row["lookahead_alpha"].is_f64(), key == "lookahead_k", "{row}");
        assert!(row["plain"]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
        let state = row["state_bytes_per_param"].as_f64().unwrap();
        assert!((12.0..13.5).contains(&state), "{row}");
    }
    assert_eq!(fallline(&["bench", "--memory", "--ema-decay", "0.9"]).code, Some(2));
}

#[test]
fn bad_values_are_refused() {
    for bad in [
        ["--model", "gpt5"],
        ["--rule", "muon"],
        ["--steps", "0"],
        ["--width", "0"],
        ["--width", "1.5"],
        ["--width", "nan"],
        ["--lane-vec4s", "4"],
        ["--clip", "0"],
        ["--loss-scale", "fast"],
        ["--param", "f64"],
        ["--lookahead-k", "0"],
        ["--ema-decay", "2"],
    ] {
        assert_eq!(fallline(&["bench", bad[0], bad[1]]).code, Some(2), "{bad:?}");
    }
    fallline(&["bench", "--json", "/nonexistent/rows.json"]).says("cannot write /nonexistent/");
}

/// The file that was there before stays when the measurement fails.
#[test]
fn a_failed_measurement_leaves_the_old_rows() {
    let path = scratch("kept.json");
    std::fs::write(&path, "kept").unwrap();
    let json = path.to_str().unwrap();
    fallline(&["bench", "--adapter", "no such adapter", "--json", json]).says("no GPU adapter");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
}

/// Drivers that crash by themselves when the address space is used up, where others report it:
/// Mesa 25.0.7's lavapipe dies of a segmentation fault.
#[cfg(target_os = "linux")]
const CRASH_OUT_OF_MEMORY: [&str; 1] = ["Mesa 25."];

/// Linux alone lets a shell limit the memory that a software adapter can have.
#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_is_one_line() {
    let command = format!(
        "ulimit -v 1500000; exec '{}' bench --backend vulkan --model gpt2-small --steps 1 \
         --no-baselines",
        binary().display()
    );
    let ran = run(Command::new("sh").args(["-c", &command]));
    if CRASH_OUT_OF_MEMORY.iter().any(|driver| ran.out.contains(driver)) {
        assert_eq!(ran.code, None, "this driver is cured, take it off the list: {ran:?}");
    } else if ["llvmpipe", "SwiftShader"].iter().any(|software| ran.out.contains(software)) {
        ran.says("out of GPU memory");
    } else {
        eprintln!("NOT TESTED: ulimit does not limit the memory of this adapter: {ran:?}");
    }
}
