//! All rules in one table, for a terminal or in Markdown, as the README has it.

use anyhow::{Context, Result};
use fallline::{
    Dtype, Group, Optimizer, Rule, Slot, SlotKind, SlotShape, StateFormat, TensorSpec,
    rule_reference,
};
use indicatif::ProgressBar;

use super::{measure::Bench, models::Model, row::Row, rule};
use crate::{print, rule::RuleName};

const HEAD: [&str; 7] = ["rule", "state in", "state", "int8", "moved", "ns/param", "roofline"];

const MARKDOWN_HEAD: [&str; 9] = [
    "rule",
    "numbers of",
    "slots",
    "state formats",
    "state, B/param",
    "int8 state, B/param",
    "B/param moved",
    "ns/param",
    "roofline",
];

/// Every rule that was measured.
#[derive(Debug, Default)]
pub(super) struct Overview {
    pub(super) rows: Vec<Row>,
    pub(super) table: Table,
}

/// A line for each rule.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Measured>);

#[derive(Debug)]
struct Measured {
    name: RuleName,
    /// The rule's bytes of state in int8, and what else is in numbers.
    numbers: [String; 5],
}

impl Overview {
    /// Measures these rules.
    pub(super) fn measure(
        bench: &Bench,
        (model, width): (Model, f64),
        names: &[RuleName],
        bar: &ProgressBar,
    ) -> Result<Self> {
        let specs = model.tensors(width);
        let mut overview = Self::default();
        for &name in names {
            let rule = rule(name);
            let samples = bench
                .measure(rule.clone(), &specs, bar)
                .with_context(|| format!("{} with {name}", model.name()))?;
            let row = Row::new(bench, (model, name, width), &specs, &*rule, &samples);
            bench.gpu.wait()?;
            let group = Group::new("all", rule.clone()).state(StateFormat::Int8);
            let in_int8 = Optimizer::arena(&bench.gpu, &[group], &specs)?.state_size_bytes();
            overview.table.0.push(Measured { name, numbers: row.overview(in_int8) });
            overview.rows.push(row);
            bench.gpu.wait()?;
        }
        Ok(overview)
    }
}

impl Table {
    /// For a terminal: without what each rule keeps, which `fallline info --rules` lists.
    pub(super) fn text(&self) -> String {
        let row = |Measured { name, numbers }: &Measured| {
            let names = [name.to_string(), state_formats(&*rule(*name))];
            names.into_iter().chain(numbers.clone()).collect()
        };
        print::table(&HEAD, self.0.iter().map(row)) + &print::wrapped(&legend())
    }

    pub(super) fn markdown(&self) -> String {
        let head = [MARKDOWN_HEAD.map(str::to_owned), MARKDOWN_HEAD.map(|_| "---".to_owned())];
        let row = |Measured { name, numbers }: &Measured| {
            let [state, int8, moved, ns, roofline] = numbers.clone();
            let [name, reference, slots, formats] = described(*name);
            [name, reference, slots, formats, state, int8, moved, ns, roofline]
        };
        let rows = self.0.iter().map(row);
        head.into_iter().chain(rows).map(line).collect::<String>() + &legend()
    }
}

/// The cells of a rule that depend on no measurement, in Markdown.
fn described(name: RuleName) -> [String; 4] {
    let rule = rule(name);
    let reference = rule_reference(name.as_str()).unwrap_or("-");
    [format!("`{name}`"), format!("`{reference}`"), slots(&*rule), state_formats(&*rule)]
}

/// What "any" format is, and which parameters and gradients have.
fn legend() -> String {
    let any: Vec<String> = StateFormat::ALL.iter().map(ToString::to_string).collect();
    let dtypes: Vec<String> = Dtype::ALL.iter().map(ToString::to_string).collect();
    format!(
        "\nState formats: any is {}, of slots that are not in f32. Parameters and gradients of any rule: {}.\n",
        any.join(", "),
        dtypes.join(", ")
    )
}

fn line<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn slots_of_matrix(rule: &dyn Rule) -> Vec<Slot> {
    rule.slots(&TensorSpec::new("", [1024, 1024]))
}

/// In which formats of its group a rule keeps anything.
fn state_formats(rule: &dyn Rule) -> String {
    let slots = slots_of_matrix(rule);
    let is_kept =
        |format: &&StateFormat| slots.iter().any(|slot| slot.format(**format) == **format);
    let kept: Vec<String> =
        StateFormat::ALL.iter().filter(is_kept).map(ToString::to_string).collect();
    match kept.len() {
        0 => "none".to_owned(),
        all if all == StateFormat::ALL.len() => "any".to_owned(),
        _ => kept.join(", "),
    }
}

/// What a rule keeps for a matrix, by kind: what has the format of the group; what is always f32; rows and
/// columns; scalars.
fn slots(rule: &dyn Rule) -> String {
    let slots = slots_of_matrix(rule);
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
        names(&|slot| matches!(slot.shape, SlotShape::Blocks(_)), " of blocks"),
        names(&|slot| slot.shape == SlotShape::Scalar, " of the tensor"),
        names(&|slot| slot.shape == SlotShape::Joint, " of all tensors"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if all.is_empty() { "none".to_owned() } else { all.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that depends on no time.
    #[test]
    fn the_readme_has_the_table() {
        let readme = crate::repository::path("README.md");
        let readme = std::fs::read_to_string(readme).expect("the workspace has one");
        assert!(readme.contains(&line(MARKDOWN_HEAD.map(str::to_owned))), "its head");
        assert!(readme.contains(legend().trim()), "{}", legend());
        for name in fallline::RULE_NAMES {
            let cells = described(RuleName::known(name).expect("a rule's name"));
            let row = format!("\n| {} | ", cells.join(" | "));
            assert!(readme.contains(&row), "{row}");
        }
    }

    #[test]
    fn formats_go_by_slots() {
        let formats =
            |name: &str| state_formats(&*rule(RuleName::known(name).expect("a rule's name")));
        assert_eq!(formats("adamw"), "any");
        // One of its slots at least.
        assert_eq!(formats("schedulefree_adamw"), "any");
        assert_eq!(formats("schedulefree_sgd"), "f32");
        assert_eq!(formats("adafactor"), "f32");
    }
}
