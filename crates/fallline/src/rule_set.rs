//! The distinct rules of some groups and tensors, and their constants.

use crate::{
    Error, Group, Result, RuleError, Scope, TensorSpec, abi,
    fits::fits,
    kernel::{KernelKey, MAX_HYPERS, check_rule},
    rules::narrow,
};

/// The distinct rules of some groups and tensors.
///
/// Groups whose rules differ in hyperparameters only are a *family*: they share the table of these in a
/// kernel, and each distinct set of what every element needs (so not the learning rate, nor decoupled weight
/// decay) is one entry of it.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet {
    /// A family's rule may have several kernels, as its tensors differ in shape.
    pub(crate) keys: Vec<KernelKey>,
    family_of_key: Vec<usize>,
    families: Vec<Family>,
    /// Of each group: its family, and which of that family's constants are its own.
    family_of_group: Vec<usize>,
    hyper_of_group: Vec<usize>,
}

/// Groups whose rules differ in hyperparameters only.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// For a tensor without dimensions, which tells families apart.
    pub(crate) key: KernelKey,
    hypers: Vec<abi::Hyper>,
    pub(crate) groups: Vec<usize>,
}

/// A family's constants begin at a multiple of the largest offset alignment that WebGPU permits.
const ALIGNMENT: usize = 256;

impl RuleSet {
    /// Checked hyperparameters, and names that no two groups share.
    pub(crate) fn new(groups: &[Group]) -> Result<Self> {
        if groups.is_empty() {
            return Err(Error::NoGroups);
        }
        let mut set = Self {
            keys: Vec::new(),
            family_of_key: Vec::new(),
            families: Vec::new(),
            family_of_group: Vec::new(),
            hyper_of_group: Vec::new(),
        };
        for (index, group) in groups.iter().enumerate() {
            if groups[..index].iter().any(|known| known.name == group.name) {
                return Err(Error::DuplicateGroup { name: group.name.clone() });
            }
            check(group)?;
            set.add_group(group)?;
        }
        Ok(set)
    }

    fn add_group(&mut self, group: &Group) -> Result<()> {
        let rule = &*group.rule;
        let scalar = TensorSpec::new("scalar", []);
        let (key, hyper) = (KernelKey::new(group, &scalar), words(&rule.hyper()));
        if !self.families.iter().any(|family| family.key == key) {
            let same_name = |known: &Family| known.key.rule.stem() == key.rule.stem();
            let differs = |known: &Family| known.key.rule != key.rule;
            if self.families.iter().any(|known| same_name(known) && differs(known)) {
                return Err(Error::Rule(RuleError::Name { rule: rule.name().to_owned() }));
            }
            check_rule(group, &scalar, &key)?;
        }
        let family = self.families.iter().position(|family| family.key == key);
        let family = family.unwrap_or_else(|| {
            self.families.push(Family { key, hypers: Vec::new(), groups: Vec::new() });
            self.families.len() - 1
        });
        let Family { hypers, groups, .. } = &mut self.families[family];
        let same = |known: &abi::Hyper| known.map(f32::to_bits) == hyper.map(f32::to_bits);
        let at = hypers.iter().position(same).unwrap_or_else(|| {
            hypers.push(hyper);
            hypers.len() - 1
        });
        if at >= MAX_HYPERS {
            return Err(Error::TooManyHyperparameters { limit: MAX_HYPERS });
        }
        groups.push(self.family_of_group.len());
        self.family_of_group.push(family);
        self.hyper_of_group.push(at);
        Ok(())
    }

    /// The number among [`keys`](Self::keys) of a group's rule for a tensor.
    pub(crate) fn rule_of(
        &mut self,
        groups: &[Group],
        group: usize,
        tensor: &TensorSpec,
    ) -> Result<usize> {
        let family = self.family_of_group[group];
        let key = KernelKey::new(&groups[group], tensor);
        let mut known = self.keys.iter().zip(&self.family_of_key);
        if let Some(number) = known.position(|known| known == (&key, &family)) {
            return Ok(number);
        }
        check_rule(&groups[group], tensor, &key)?;
        self.keys.push(key);
        self.family_of_key.push(family);
        Ok(self.keys.len() - 1)
    }

    /// The families whose sums go over more than a tensor.
    pub(crate) fn gathering(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().filter(|family| family.key.gathers())
    }

    /// Whether all groups of a rule's family have the same constants.
    pub(crate) fn has_one_hyper(&self, rule: usize) -> bool {
        self.families[self.family_of_key[rule]].hypers.len() == 1
    }

    /// Where a rule's constants begin in [`hyper_bytes`](Self::hyper_bytes).
    pub(crate) fn offset(&self, rule: usize) -> usize {
        self.offset_of_family(self.family_of_key[rule])
    }

    fn offset_of_family(&self, family: usize) -> usize {
        // As many distinct ones as a family has groups, if they come to differ.
        self.families[..family].iter().map(|family| span(family.groups.len())).sum()
    }

    /// Where those of a group begin there.
    pub(crate) fn hyper_offset(&self, group: usize) -> usize {
        let own = self.hyper_of_group[group] * size_of::<abi::Hyper>();
        self.offset_of_family(self.family_of_group[group]) + size_of::<abi::Hypers>() + own
    }

    /// The constants of all rules, as kernels bind them.
    pub(crate) fn hyper_bytes(&self, clip_value: f32, seed: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.offset_of_family(self.families.len())];
        let head = abi::Hypers { clip_value, seed, padding0: 0, padding1: 0 };
        for (family, Family { hypers, .. }) in self.families.iter().enumerate() {
            let contents = [bytemuck::bytes_of(&head), bytemuck::cast_slice(hypers)].concat();
            let first = self.offset_of_family(family);
            bytes[first..first + contents.len()].copy_from_slice(&contents);
        }
        bytes
    }

    /// How many sets of joint scalars there may be: of each family, and of each group.
    pub(crate) fn joints(&self) -> usize {
        self.families.len() + self.family_of_group.len()
    }

    /// Which of these a group's tensors have.
    pub(crate) fn joint_of(&self, group: usize) -> usize {
        let family = self.family_of_group[group];
        match self.families[family].key.scope {
            Scope::Group => self.families.len() + group,
            _ => family,
        }
    }

    /// What *advance* knows of each group.
    pub(crate) fn records(&self, groups: &[Group]) -> Vec<abi::Group> {
        let number = |value: usize| fits(value, "groups have a record each");
        let limit = |group: &Group| group.update_clipping.map_or(0.0, narrow);
        let record = |(index, group): (usize, &Group)| abi::Group {
            hyper: number(self.hyper_of_group[index]),
            grad_sign: if group.rule.maximize() { -1.0 } else { 1.0 },
            joint: number(self.joint_of(index)),
            lookahead_k: group.lookahead.map_or(0, |lookahead| lookahead.k),
            lookahead_alpha: group.lookahead.map_or(0.0, |lookahead| narrow(lookahead.alpha)),
            average_weight: group.ema_decay.map_or(0.0, |decay| narrow(1.0 - decay)),
            family: number(self.family_of_group[index]),
            padding0: 0,
            average_start: group.swa.map_or(1, |swa| swa.start),
            average_every: group.swa.map_or(1, |swa| swa.every),
            // 1 / (n + 1); 1 - (1 + n) / (10 + n) = 9 / (n + 10); or nothing.
            average_ramp: match (group.swa, group.ema_warmup) {
                (Some(_), _) => 1.0,
                (None, true) => 9.0,
                (None, false) => 0.0,
            },
            average_offset: if group.ema_warmup { 10 } else { 1 },
            update_limit: if group.rule.direction_has_lr() { 0.0 } else { limit(group) },
            update_limit_of_lr: if group.rule.direction_has_lr() { limit(group) } else { 0.0 },
            padding1: 0,
            padding2: 0,
            step_hyper: words(&group.rule.step_hyper()),
        };
        groups.iter().enumerate().map(record).collect()
    }
}

/// Bytes for the constants of `groups` groups.
fn span(groups: usize) -> usize {
    (size_of::<abi::Hypers>() + groups * size_of::<abi::Hyper>()).next_multiple_of(ALIGNMENT)
}

/// Whether a group's hyperparameters are in their ranges, and its options go together.
pub(crate) fn check(group: &Group) -> Result<()> {
    if let Some((option, reason)) = group.conflict() {
        return Err(Error::GroupOption { group: group.name.clone(), option, reason });
    }
    group.check().map_err(|range| Error::Hyperparameter {
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
