//! Rules, what goes around them, formats and places in combinations, and which of all are tried.

use std::{fmt, sync::Arc};

use anyhow::{Context, Result};
use fallline::{Dtype, Precision, RULE_NAMES, Rule, StateFormat};
use fallline_reference::{
    self as reference,
    design::{self, Pair},
};

use super::{extra::Extra, subject::Effort};

/// A rule of the engine with its options, and the same of the reference.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) rule: Arc<dyn Rule>,
    pub(super) oracle: Arc<dyn reference::Rule>,
    name: &'static str,
    options: &'static str,
}

impl Case {
    fn new(name: &'static str, options: &'static str) -> Result<Self> {
        let values = serde_json::from_str(options).context("options of a case")?;
        let rule = fallline::deserialize_rule(name, &values)?;
        Ok(Self { rule, oracle: reference::rule(name, &values).into(), name, options })
    }

    /// Those of a rule: every switch, and hyperparameters away from their defaults.
    pub(super) fn all(name: &'static str) -> Result<Vec<Self>> {
        reference::cases(name).iter().map(|options| Self::new(name, options)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some are in several lines.
        let options: Vec<&str> = self.options.split_whitespace().collect();
        write!(f, "{} {}", self.name, options.join(" "))
    }
}

/// Where parameters and gradients lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Arena,
    /// The caller's, a buffer for each.
    Apart,
    /// The caller's, those of a tensor in one buffer.
    Together,
}

const SITES: [Site; 3] = [Site::Arena, Site::Apart, Site::Together];

/// A rule in formats, somewhere.
#[derive(Clone)]
pub(super) struct Combination {
    pub(super) case: Case,
    pub(super) extra: Extra,
    pub(super) param: Dtype,
    pub(super) precision: Precision,
    pub(super) grad: Dtype,
    pub(super) state: StateFormat,
    pub(super) site: Site,
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = match self.site {
            Site::Arena => "in the arena",
            Site::Apart => "borrowed",
            Site::Together => "borrowed in one buffer",
        };
        let Self { case, extra, param, precision, grad, state, .. } = self;
        write!(f, "{param} {precision}, gradient {grad}, state {state}, {site}, {extra}{case}")
    }
}

/// A parameter's format, and what is kept beside it.
fn params() -> Vec<(Dtype, Precision)> {
    let of = |dtype: &Dtype| {
        let dtype = *dtype;
        let fits = move |precision: &&Precision| precision.dtypes().contains(&dtype);
        Precision::ALL.iter().filter(fits).map(move |precision| (dtype, *precision))
    };
    Dtype::ALL.iter().flat_map(of).collect()
}

/// Values of each factor: rules, parameters, gradients, state, places, what goes around a rule.
fn sizes() -> [usize; 6] {
    let formats = [params().len(), Dtype::ALL.len(), StateFormat::ALL.len()];
    let [param, grad, state] = formats;
    [RULE_NAMES.len(), param, grad, state, SITES.len(), Extra::ALL.len()]
}

const RULE: usize = 0;
const EXTRA: usize = 5;

/// A rule's cases that this may go around.
fn cases_in(name: &'static str, extra: Extra) -> Result<Vec<Case>> {
    let mut cases = Case::all(name)?;
    cases.retain(|case| extra.fits(&*case.rule));
    Ok(cases)
}

/// Whether two values go together: all but what some rules cannot have around them.
fn may_be((a, b): Pair) -> bool {
    match (a, b) {
        ((RULE, rule), (EXTRA, extra)) => {
            cases_in(RULE_NAMES[rule], Extra::ALL[extra]).is_ok_and(|cases| !cases.is_empty())
        }
        _ => true,
    }
}

/// Which values go together, as rows of a value for each factor.
fn rows(effort: Effort) -> Vec<Vec<usize>> {
    let sizes = sizes();
    match effort {
        // Each rule once in the arena, while the formats take turns.
        Effort::Quick => {
            let row =
                |rule: usize| [&sizes[..4], &[1, 1]].concat().iter().map(|n| rule % n).collect();
            (0..sizes[0]).map(row).collect()
        }
        Effort::Default => design::all_pairs(&sizes, may_be),
        // With nothing around the rule, and the pairs of what may be.
        Effort::All => {
            let alone = sizes[..EXTRA].iter().fold(vec![Vec::new()], |rows, size| {
                let more = |row: &Vec<usize>| {
                    let row = row.clone();
                    (0..*size).map(move |value| [&row[..], &[value]].concat())
                };
                rows.iter().flat_map(more).collect()
            });
            let alone = alone.into_iter().map(|row| [&row[..], &[0]].concat());
            let mut around = design::all_pairs(&sizes, may_be);
            around.retain(|row| row[EXTRA] != 0);
            alone.chain(around).collect()
        }
    }
}

/// Those of a rule that are tried: of all rules each with formats in turns; all pairs of two factors' values; or all. A
/// rule's cases take turns, except where all are tried.
pub(super) fn of_rule(name: &'static str, effort: Effort) -> Result<Vec<Combination>> {
    let is_of = |row: &&Vec<usize>| RULE_NAMES[row[RULE]] == name;
    let mut combinations: Vec<Combination> = Vec::new();
    let turns = |combinations: &[Combination], case: &Case| {
        combinations.iter().filter(|one| one.case.options == case.options).count()
    };
    for row in rows(effort).iter().filter(is_of) {
        let (param, precision) = params()[row[1]];
        let extra = Extra::ALL[row[EXTRA]];
        let mut chosen = cases_in(name, extra)?;
        if effort != Effort::All || extra != Extra::Nothing {
            chosen.sort_by_key(|case| turns(&combinations, case));
            chosen.truncate(1);
        }
        combinations.extend(chosen.into_iter().map(|case| Combination {
            case,
            extra,
            param,
            precision,
            grad: Dtype::ALL[row[2]],
            state: StateFormat::ALL[row[3]],
            site: SITES[row[4]],
        }));
    }
    // Those of a case behind one another, so that its kernels need not be kept for the others.
    combinations.sort_by_key(|one| one.case.options);
    Ok(combinations)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_default_has_every_pair_and_every_switch() {
        let (sizes, rows) = (sizes(), rows(Effort::Default));
        assert!(design::covers(&sizes, &rows, may_be));
        // Every rule with every parameter takes this many.
        let least = sizes[0] * sizes[1];
        assert!(rows.len() <= least * 6 / 5, "{} rows for {least} pairs", rows.len());
        for name in RULE_NAMES {
            let tried = of_rule(name, Effort::Default).expect("cases");
            for case in Case::all(name).expect("cases") {
                let is_tried = tried.iter().any(|one| one.case.options == case.options);
                assert!(is_tried, "{case}");
            }
        }
    }

    #[test]
    fn quick_has_every_rule_and_every_format_and_all_has_all() {
        let (sizes, quick) = (sizes(), rows(Effort::Quick));
        assert_eq!(quick.len(), sizes[0]);
        for (factor, size) in sizes.iter().enumerate().take(4) {
            let missing = (0..*size).find(|value| quick.iter().all(|row| row[factor] != *value));
            assert_eq!(missing, None, "of factor {factor}");
        }
        let mut all = rows(Effort::All);
        let alone = sizes[..EXTRA].iter().product::<usize>();
        assert_eq!(all.iter().filter(|row| row[EXTRA] == 0).count(), alone);
        let (a, b) = (RULE, EXTRA);
        let pair = |row: &Vec<usize>| (row[a], row[b]);
        let pairs: HashSet<_> = all.iter().map(pair).collect();
        let possible = design::pairs(&sizes).filter(|(x, y)| (x.0, y.0) == (a, b));
        assert_eq!(pairs.len(), possible.filter(|pair| may_be(*pair)).count());
        let len = all.len();
        all.dedup();
        assert_eq!(all.len(), len);
    }
}
