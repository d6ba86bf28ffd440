//! From records to what is drawn.

use fallline::monitor::{NonFiniteStep, Record, RecordNorms};

use super::axis::Scale;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What was measured; those of one number look alike in all panels.
    Series(usize),
    Limit,
    Suggested,
}

/// A line with its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Steps and places, in runs that no missing value interrupts.
    pub(super) runs: Vec<Vec<(f64, f64)>>,
}

/// Lines over the steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// The whole picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
    pub(super) last_step: u32,
    pub(super) skipped: Vec<u32>,
    pub(super) non_finite: Option<NonFiniteStep>,
}

/// Groups that have lines: more would not be told apart.
const MAX_GROUPS: usize = 6;

impl Figure {
    pub(super) fn new(name: &str, records: &[Record]) -> Self {
        let line = |name: &str, kind, scale, value: &dyn Fn(&Record) -> Option<f64>| Line {
            name: name.into(),
            kind,
            runs: runs(records, scale, value),
        };
        let mut panels = Vec::new();
        let mut add = |title, scale, lines: Vec<Line>| {
            let lines: Vec<Line> = lines.into_iter().filter(|line| !line.runs.is_empty()).collect();
            if !lines.is_empty() {
                panels.push(Panel { title, scale, lines });
            }
        };
        let loss = line("loss", Kind::Series(0), Scale::Linear, &|record| record.loss);
        add("loss", Scale::Linear, vec![loss]);
        let norms = vec![
            line("all", Kind::Series(0), Scale::Log, &|record| Some(record.norm.into())),
            line("limit", Kind::Limit, Scale::Log, &|record| record.max_norm),
            line("90th percentile", Kind::Suggested, Scale::Log, &|record| {
                record.suggested_max_norm.map(f64::from)
            }),
        ];
        add("gradient norm", Scale::Log, norms);
        let names = group_names(records);
        let of_groups = |scale, value: &dyn Fn(&RecordNorms) -> Option<f32>| {
            let of_group = |(number, name): (usize, &String)| {
                line(name, Kind::Series(number), scale, &|record| {
                    let group = record.groups.iter().find(|group| group.name == *name);
                    group.and_then(value).map(f64::from)
                })
            };
            names.iter().take(MAX_GROUPS).enumerate().map(of_group).collect()
        };
        add("update / weight", Scale::Log, of_groups(Scale::Log, &|norms| norms.update_ratio));
        add("learning rate", Scale::Linear, of_groups(Scale::Linear, &|norms| Some(norms.lr)));
        if records.iter().any(|record| record.loss_scale != 1.0) {
            let scale = |record: &Record| Some(record.loss_scale.into());
            let lines = vec![line("scale", Kind::Series(0), Scale::Log, &scale)];
            add("loss scale", Scale::Log, lines);
        }
        let steps = || records.iter().map(|record| record.step);
        let events = records.iter().flat_map(|record| &record.non_finite);
        let (first, last) = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
        let hidden = names.len().saturating_sub(MAX_GROUPS);
        let more = if hidden > 0 { format!(", {hidden} more groups") } else { String::new() };
        Self {
            title: format!("{name}: steps {first} to {last}{more}"),
            panels,
            last_step: last,
            skipped: records.iter().flat_map(|record| record.skipped.iter().copied()).collect(),
            non_finite: events.min_by_key(|event| event.step).cloned(),
        }
    }
}

/// In the order in which they come up.
fn group_names(records: &[Record]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for group in records.iter().flat_map(|record| &record.groups) {
        if !names.contains(&group.name) {
            names.push(group.name.clone());
        }
    }
    names
}

/// The values of records that have one, in runs.
fn runs(
    records: &[Record],
    scale: Scale,
    value: &dyn Fn(&Record) -> Option<f64>,
) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for record in records {
        match (value(record).and_then(|value| scale.place(value)), runs.last_mut()) {
            (Some(place), Some(run)) => run.push((f64::from(record.step), place)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use fallline::monitor::read_json_lines;

    use super::*;

    fn figure(lines: &str) -> Figure {
        Figure::new("run.jsonl", &read_json_lines(lines.as_bytes()).expect("a log"))
    }

    #[test]
    fn what_is_told_has_a_panel_and_what_is_missing_interrupts_a_line() {
        let group = |ratio: &str| format!("\"groups\":[{{\"name\":\"a\",\"lr\":0.5{ratio}}}]");
        let (with, without) = (group(",\"update_ratio\":0.25"), group(""));
        let log = format!(
            "{{\"step\":20,\"norm\":1.0,\"loss_scale\":1.0,{with}}}\n\
             {{\"step\":40,\"norm\":null,\"loss_scale\":1.0,\"skipped\":[33,40],\
               \"non_finite\":[{{\"step\":33,\"tensor\":\"w\"}},{{\"step\":40,\"tensor\":\"b\"}}],{without}}}\n\
             {{\"step\":60,\"norm\":10.0,\"loss_scale\":1.0,\"max_norm\":1.0,{with}}}\n"
        );
        let found = figure(&log);
        let titles: Vec<&str> = found.panels.iter().map(|panel| panel.title).collect();
        assert_eq!(titles, ["gradient norm", "update / weight", "learning rate"]);
        let names = |panel: usize| -> Vec<&str> {
            found.panels[panel].lines.iter().map(|line| line.name.as_str()).collect()
        };
        assert_eq!((names(0), names(1)), (vec!["all", "limit"], vec!["a"]));
        assert_eq!(found.panels[0].lines[0].runs, [[(20.0, 0.0)], [(60.0, 1.0)]]);
        let ratio = 0.25f64.log10();
        assert_eq!(found.panels[1].lines[0].runs, [[(20.0, ratio)], [(60.0, ratio)]]);
        assert_eq!(found.panels[2].lines[0].runs, [[(20.0, 0.5), (40.0, 0.5), (60.0, 0.5)]]);
        assert_eq!((found.skipped.as_slice(), found.last_step), (&[33, 40][..], 60));
        let first = found.non_finite.as_ref().expect("there is one");
        assert_eq!((first.step, first.tensor.as_str()), (33, "w"));
        assert_eq!(found.title, "run.jsonl: steps 20 to 60");
    }

    #[test]
    fn loss_and_loss_scale_are_drawn_if_they_tell_something() {
        let found = figure("{\"step\":1,\"loss\":2.0,\"loss_scale\":8.0}\n");
        let titles: Vec<&str> = found.panels.iter().map(|panel| panel.title).collect();
        assert_eq!(titles, ["loss", "loss scale"]);
        assert!(found.non_finite.is_none() && found.skipped.is_empty());
    }
}
