//! The distinct rules of some groups, and their constants.

use crate::{
    Error, Group, Result, abi,
    kernel::{KernelKey, MAX_HYPERS, check_rule},
    rules::narrow,
};

/// The distinct rules of some groups. Groups that differ in what *advance* reads share a kernel's
/// constants: learning rate and decoupled weight decay, say.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet {
    pub(crate) keys: Vec<KernelKey>,
    /// For each group, which of these is its own.
    pub(crate) of_group: Vec<usize>,
    /// The distinct `Hyper` of each rule, and for each group which of them is its own.
    hypers: Vec<Vec<abi::Hyper>>,
    hyper_of: Vec<usize>,
    /// Groups of each rule: so many distinct constants it may come to have.
    groups_of: Vec<usize>,
}

/// A rule's constants begin at a multiple of the largest offset alignment that WebGPU permits.
const ALIGNMENT: usize = 256;

impl RuleSet {
    /// Checked hyperparameters, and names that no two groups share.
    pub(crate) fn new(groups: &[Group]) -> Result<Self> {
        if groups.is_empty() {
            return Err(Error::NoGroups);
        }
        let (keys, hypers, groups_of) = (Vec::new(), Vec::new(), Vec::new());
        let (of_group, hyper_of) = (Vec::new(), Vec::new());
        let mut set = Self { keys, of_group, hypers, hyper_of, groups_of };
        for (index, group) in groups.iter().enumerate() {
            if groups[..index].iter().any(|known| known.name == group.name) {
                return Err(Error::DuplicateGroup { name: group.name.clone() });
            }
            check(group)?;
            set.add(group)?;
        }
        Ok(set)
    }

    fn add(&mut self, group: &Group) -> Result<()> {
        let rule = &*group.rule;
        let (key, hyper) = (KernelKey::new(rule), words(&rule.hyper()));
        if !self.keys.contains(&key) {
            let same_name = |known: &KernelKey| known.rule.stem() == key.rule.stem();
            if self.keys.iter().any(|known| same_name(known) && known.rule != key.rule) {
                return Err(Error::RuleName { rule: rule.name().to_owned() });
            }
            check_rule(rule, &key)?;
        }
        let number = self.keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.keys.push(key);
            self.hypers.push(Vec::new());
            self.groups_of.push(0);
            self.keys.len() - 1
        });
        let hypers = &mut self.hypers[number];
        let same = |known: &abi::Hyper| known.map(f32::to_bits) == hyper.map(f32::to_bits);
        let at = hypers.iter().position(same).unwrap_or_else(|| {
            hypers.push(hyper);
            hypers.len() - 1
        });
        if at >= MAX_HYPERS {
            return Err(Error::TooManyHyperparameters { limit: MAX_HYPERS });
        }
        self.groups_of[number] += 1;
        self.of_group.push(number);
        self.hyper_of.push(at);
        Ok(())
    }

    /// Whether all groups of a rule have the same constants.
    pub(crate) fn has_one_hyper(&self, rule: usize) -> bool {
        self.hypers[rule].len() == 1
    }

    /// Where a rule's constants begin in [`hyper_bytes`](Self::hyper_bytes).
    pub(crate) fn offset(&self, rule: usize) -> usize {
        self.groups_of[..rule].iter().map(|groups| span(*groups)).sum()
    }

    /// The constants of all rules, as kernels bind them.
    pub(crate) fn hyper_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.offset(self.keys.len())];
        for (rule, hypers) in self.hypers.iter().enumerate() {
            let hypers: &[u8] = bytemuck::cast_slice(hypers);
            let first = self.offset(rule);
            bytes[first..first + hypers.len()].copy_from_slice(hypers);
        }
        bytes
    }

    /// What *advance* knows of each group.
    pub(crate) fn records(&self, groups: &[Group], clip_value: f32, seed: u32) -> Vec<abi::Group> {
        let number = |value: usize| u32::try_from(value).expect("as many as there are groups");
        let record = |(index, group): (usize, &Group)| abi::Group {
            rule: number(self.of_group[index]),
            hyper: number(self.hyper_of[index]),
            grad_sign: if group.rule.maximize() { -1.0 } else { 1.0 },
            clip_value,
            seed,
            padding0: 0,
            padding1: 0,
            padding2: 0,
            step_hyper: words(&group.rule.step_hyper()),
        };
        groups.iter().enumerate().map(record).collect()
    }
}

/// Bytes for the constants of `groups` groups.
fn span(groups: usize) -> usize {
    (groups * size_of::<abi::Hyper>()).next_multiple_of(ALIGNMENT)
}

/// Whether a group's hyperparameters are in their ranges.
pub(crate) fn check(group: &Group) -> Result<()> {
    group.rule.check().map_err(|range| Error::Hyperparameter {
        group: group.name.clone(),
        name: range.name,
        expected: range.expected,
        found: range.found,
    })
}

/// Constants in their order, the rest zero.
fn words(constants: &[(&str, f64)]) -> [f32; 8] {
    let mut words = [0.0; 8];
    for (word, (_, constant)) in words.iter_mut().zip(constants) {
        *word = narrow(*constant);
    }
    words
}
