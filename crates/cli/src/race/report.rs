//! What a race says: the table on the terminal, CSV and JSON.

use std::fmt::Write as _;

use super::{
    landscape::Landscape,
    run::{ARRIVED, Path},
};
use crate::{device::AdapterReport, print};

pub(super) fn table(
    landscape: Landscape,
    steps: u32,
    paths: &[Path],
    adapter: &AdapterReport,
) -> String {
    let arrived = |path: &Path| path.arrived(landscape).map_or("-".into(), |step| step.to_string());
    let row = |path: &Path| {
        let height = format!("{:.3e}", path.height(landscape));
        vec![path.name.clone(), path.lr.to_string(), height, arrived(path)]
    };
    let column = format!("steps to {ARRIVED:e}");
    format!(
        "{} on {}, {}: {steps} steps from {:?}\n\n{}",
        landscape.name(),
        adapter.name,
        adapter.backend,
        landscape.start(),
        print::table(&["rule", "lr", "height at the end", &column], paths.iter().map(row)),
    )
}

/// One line for each point of each path.
pub(super) fn csv(landscape: Landscape, paths: &[Path]) -> String {
    let mut text = "rule,lr,step,x,y,height\n".to_owned();
    for path in paths {
        for (step, &point) in path.points.iter().enumerate() {
            let ([x, y], height) = (point, landscape.height(point));
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{},{},{step},{x},{y},{height}", path.name, path.lr);
        }
    }
    text
}

#[derive(Debug, serde::Serialize)]
pub(super) struct Report<'a> {
    adapter: &'a AdapterReport,
    landscape: String,
    steps: u32,
    start: [f32; 2],
    paths: Vec<PathReport<'a>>,
}

#[derive(Debug, serde::Serialize)]
struct PathReport<'a> {
    rule: &'a str,
    lr: f64,
    /// Above the minimum, at the end.
    height: f64,
    /// The step from which on it remains as near as that to the minimum's value.
    arrived: Option<usize>,
    stayed: bool,
    points: &'a [[f64; 2]],
}

pub(super) fn json<'a>(
    landscape: Landscape,
    steps: u32,
    paths: &'a [Path],
    adapter: &'a AdapterReport,
) -> Report<'a> {
    let report = |path: &'a Path| PathReport {
        rule: &path.name,
        lr: path.lr,
        height: path.height(landscape),
        arrived: path.arrived(landscape),
        stayed: path.stayed,
        points: &path.points,
    };
    let (landscape_name, start) = (landscape.name(), landscape.start());
    let paths = paths.iter().map(report).collect();
    Report { adapter, landscape: landscape_name, steps, start, paths }
}
