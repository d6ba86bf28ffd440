//! All rules in one table, in Markdown, as the README has it.

use anyhow::{Context, Result};
use fallline::{Group, Optimizer, Rule, Slot, SlotKind, SlotShape, StateFormat, TensorSpec};
use indicatif::ProgressBar;

use super::{measure::Bench, models::Model, row::Row, rule};
use crate::rule::RuleName;

const HEAD: [&str; 8] = [
    "rule",
    "numbers of",
    "slots",
    "state, B/param",
    "int8 state, B/param",
    "B/param moved",
    "ns/param",
    "roofline",
];

/// Measures every rule, and gives the rows with the table.
pub(super) fn measure(
    bench: &Bench,
    (model, width): (Model, f64),
    names: &[RuleName],
    bar: &ProgressBar,
) -> Result<(Vec<Row>, String)> {
    let specs = model.tensors(width);
    let mut rows = Vec::new();
    let mut table = line(HEAD.map(str::to_owned)) + &line(HEAD.map(|_| "---".to_owned()));
    for &name in names {
        let rule = rule(name);
        let samples = bench
            .measure(rule.clone(), &specs, bar)
            .with_context(|| format!("{} with {name}", model.name()))?;
        let row = Row::new(bench, (model, name, width), &specs, &*rule, &samples);
        bench.gpu.wait()?;
        let group = Group::new("all", rule.clone()).state(StateFormat::Int8);
        let in_int8 = Optimizer::arena(&bench.gpu, &[group], &specs)?.state_size_bytes();
        table += &line(row.overview(&slots(&*rule), in_int8));
        rows.push(row);
        bench.gpu.wait()?;
    }
    Ok((rows, table))
}

fn line(cells: [String; 8]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// What a rule keeps for a matrix, by kind: what has the format of the group; what is always f32; rows and
/// columns; scalars.
fn slots(rule: &dyn Rule) -> String {
    let slots = rule.slots(&TensorSpec::new("", [1024, 1024]));
    let names = |fits: &dyn Fn(&Slot) -> bool, what: &str| {
        let names: Vec<String> =
            slots.iter().filter(|slot| fits(slot)).map(|slot| format!("`{}`", slot.name)).collect();
        (!names.is_empty()).then(|| names.join(", ") + what)
    };
    let of_param = |kind| move |slot: &Slot| slot.shape == SlotShape::Param && slot.kind == kind;
    let all: Vec<String> = [
        names(&of_param(SlotKind::Moment), ""),
        names(&of_param(SlotKind::Exact), " in f32"),
        names(
            &|slot| matches!(slot.shape, SlotShape::Rows | SlotShape::Columns),
            " of rows and columns",
        ),
        names(&|slot| slot.shape == SlotShape::Scalar, " of the tensor"),
        names(&|slot| slot.shape == SlotShape::Joint, " of all tensors"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if all.is_empty() { "none".to_owned() } else { all.join("; ") }
}
