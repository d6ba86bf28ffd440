//! The rates of all steps.

use std::fmt::Write;

use fallline::schedule::Scheduler;

use super::config::{Config, Given};
use crate::print;

/// A schedule, step by step.
#[derive(Debug)]
pub(super) struct Curve {
    /// What it is called.
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Of each group, in each step.
    pub(super) lrs: Vec<Vec<f64>>,
    /// Of each group, in each step that has one; none of a schedule without.
    pub(super) momenta: Vec<Vec<Option<f64>>>,
}

impl Curve {
    pub(super) fn new(name: String, config: Config, steps: u32) -> anyhow::Result<Self> {
        let Config { given: Given { schedule, metrics }, base_lrs } = config;
        let mut scheduler = Scheduler::new(schedule, base_lrs)?;
        let groups = 0..scheduler.lrs().len();
        let mut lrs: Vec<Vec<f64>> = groups.clone().map(|_| Vec::new()).collect();
        let mut momenta: Vec<Vec<Option<f64>>> = groups.clone().map(|_| Vec::new()).collect();
        let mut metrics = metrics.into_iter();
        for _ in 0..steps {
            for group in groups.clone() {
                lrs[group].push(scheduler.lrs()[group]);
                momenta[group].push(scheduler.momentum(group));
            }
            if let Some(metric) = metrics.next() {
                scheduler.observe(metric);
            }
            scheduler.step();
        }
        if momenta.iter().flatten().all(Option::is_none) {
            momenta.clear();
        }
        Ok(Self { name, kind: scheduler.schedule().kind(), lrs, momenta })
    }

    /// Row t is what the step after t others takes.
    pub(super) fn csv(&self) -> String {
        let numbered = |name, columns: usize| (0..columns).map(move |n| format!(",{name}{n}"));
        let mut text = "step".to_owned();
        text.extend(numbered("lr", self.lrs.len()).chain(numbered("momentum", self.momenta.len())));
        text.push('\n');
        for t in 0..self.lrs[0].len() {
            // Writing to a string does not fail.
            let _ = write!(text, "{t}");
            for lrs in &self.lrs {
                let _ = write!(text, ",{:?}", lrs[t]);
            }
            for momenta in &self.momenta {
                let momentum = momenta[t].map(|momentum| format!("{momentum:?}"));
                let _ = write!(text, ",{}", momentum.unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }
}

/// The corners of each curve, as a table.
pub(super) fn summary(curves: &[Curve]) -> String {
    let head =
        ["schedule", "kind", "group", "first", "highest", "in step", "lowest", "in step", "last"];
    let row = |curve: &Curve, group: usize| {
        let lrs = &curve.lrs[group];
        // The first step of those that are alike.
        let first_of = |better: fn(f64, f64) -> bool| {
            let later =
                |best, (t, lr): (usize, &f64)| if better(*lr, lrs[best]) { t } else { best };
            lrs.iter().enumerate().fold(0, later)
        };
        let (highest, lowest) = (first_of(|a, b| a > b), first_of(|a, b| a < b));
        let number = |lr: f64| format!("{lr:.4e}");
        vec![
            curve.name.clone(),
            curve.kind.to_owned(),
            group.to_string(),
            number(lrs[0]),
            number(lrs[highest]),
            highest.to_string(),
            number(lrs[lowest]),
            lowest.to_string(),
            number(lrs[lrs.len() - 1]),
        ]
    };
    let rows =
        curves.iter().flat_map(|curve| (0..curve.lrs.len()).map(move |group| row(curve, group)));
    print::table(&head, rows)
}
