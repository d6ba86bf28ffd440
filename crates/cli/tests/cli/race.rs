//! `fallline race`, as a user runs it.

use serde_json::Value;

use crate::common::{fallline, scratch};

#[test]
fn all_rules_race_in_one_picture() {
    let [svg, csv, json] = ["svg", "csv", "json"].map(|kind| scratch(&format!("race.{kind}")));
    let [svg, csv, json] = [&svg, &csv, &json].map(|path| path.to_str().expect("UTF-8"));
    let all = [fallline::RULE_NAMES, &["momentum", "nesterov"]].concat();
    let size = ["--steps", "40", "-o", svg, "--csv", csv, "--json", json];
    let race = ["race", "quadratic", "--rules", &all.join(",")];
    let ran = fallline(&[&race[..], &size[..]].concat()).good();
    assert!(ran.out.contains("height at the end") && ran.err.is_empty(), "{ran:?}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let paths = report["paths"].as_array().expect("a list");
    assert_eq!(paths.len(), all.len());
    let mut near = 0;
    for (path, name) in paths.iter().zip(&all) {
        assert_eq!(path["rule"], *name);
        assert_eq!(path["points"].as_array().map(Vec::len), Some(41), "{name}");
        assert_eq!(path["points"][0], serde_json::json!([-4.5, 1.5]), "{name}");
        near += u32::from(path["height"].as_f64().unwrap() < 1.0);
    }
    // It begins at 38. (Adadelta, say, is slow everywhere.)
    assert!(near as usize >= all.len() * 3 / 4, "{near} of {}", all.len());
    let table = std::fs::read_to_string(csv).unwrap();
    assert!(table.starts_with("rule,lr,step,x,y,height\nsgd,"));
    assert_eq!(table.lines().count(), 1 + 41 * all.len());
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(all.iter().all(|name| picture.contains(&format!("{name}, "))));
}

/// SGD with momentum and a learning rate of its own, against the recurrence by hand.
#[test]
fn the_steps_are_those_of_the_rule() {
    let csv = scratch("by-hand.csv");
    let csv = csv.to_str().expect("UTF-8");
    fallline(&["race", "quadratic", "--rules", "momentum=0.01", "--steps", "20", "--csv", csv])
        .good();
    let table = std::fs::read_to_string(csv).unwrap();
    let (mut point, mut momentum) = ([-4.5f64, 1.5], [0.0f64; 2]);
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let found = [cells[3], cells[4]].map(|cell| cell.parse::<f64>().unwrap());
        for axis in [0, 1] {
            assert!((found[axis] - point[axis]).abs() < 1e-5, "{line}: {point:?}");
            momentum[axis] = 0.9 * momentum[axis] + [1.0, 25.0][axis] * point[axis];
            point[axis] -= 0.01 * momentum[axis];
        }
    }
}

#[test]
fn wrong_usage_is_told() {
    let refused = |rules: &str, steps: &str, expected: &str| {
        let ran = fallline(&["race", "beale", "--rules", rules, "--steps", steps]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(expected), "{ran:?}");
    };
    refused("adamw,adamx", "10", "no rule has this name; there are sgd, ");
    refused("adamw=-1", "10", "a learning rate must be a number > 0, found -1");
    refused("adamw,adamw=1", "10", "--rules names adamw twice");
    refused("adamw", "0", "--steps must be 1 to 10000, found 0");
    let ran = fallline(&["race", "beale", "--rules", "sgd=40", "--steps", "10"]).good();
    assert!(ran.err.contains("sgd left the map: try a smaller learning rate than 40"), "{ran:?}");
}
