//! Hyperparameters that change between steps.

use super::{Lies, Optimizer};
use crate::{
    Error, IntoRule, Result, Rule, TensorSpec,
    kernel::{KernelKey, Recipe},
    rule_set::RuleSet,
};

impl Optimizer {
    /// Gives a group other hyperparameters of its rule, from the next step on: momentum that follows a schedule,
    /// say. Steps that are recorded already keep those that they were recorded with.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::OtherRule`] for another rule, or one with other slots or
    /// switches, which are compiled into kernels; a hyperparameter out of its range. Nothing changes then.
    pub fn set_rule(&mut self, group: &str, rule: impl IntoRule) -> Result<()> {
        let names = || self.groups.iter().map(|group| group.name.as_str());
        let index = names().position(|name| name == group).ok_or_else(|| Error::NoSuchGroup {
            group: group.to_owned(),
            known: names().collect::<Vec<_>>().join(", "),
        })?;
        let (old, new) = (&*self.groups[index].rule, rule.into_rule());
        let tensors = self.infos.iter().filter(|info| info.group == index).map(|info| &info.spec);
        for tensor in tensors.chain([&TensorSpec::new("scalar", [])]) {
            let key = |rule: &dyn Rule| KernelKey::of_rule(rule, tensor);
            if key(old) != key(&*new) || old.slots(tensor) != new.slots(tensor) {
                let group = group.to_owned();
                let (expected, found) = (describe(old, tensor), describe(&*new, tensor));
                return Err(Error::OtherRule { group, expected, found });
            }
        }
        let mut groups = self.groups.clone();
        groups[index].rule = new;
        let mut rules = RuleSet::new(&groups)?;
        for info in &self.infos {
            rules.rule_of(&groups, info.group, &info.spec)?;
        }
        for (number, key) in rules.keys.clone().iter().enumerate() {
            if self.rules.has_one_hyper(number) && !rules.has_one_hyper(number) {
                self.tell_hypers_apart(key)?;
            }
        }
        let constants = &mut self.control.constants;
        constants.groups = rules.records(&groups);
        constants.hypers = rules.hyper_bytes(constants.clip_value, constants.seed);
        (self.groups, self.rules) = (groups, rules);
        Ok(())
    }

    /// Exchanges the kernels of a rule for such as read each group's hyperparameters.
    fn tell_hypers_apart(&mut self, key: &KernelKey) -> Result<()> {
        self.change_kernels(&|recipe| recipe.with_many_hypers(key))?;
        for program in self.programs.iter_mut().filter(|program| program.key == *key) {
            program.one_hyper = false;
        }
        Ok(())
    }

    /// Exchanges the kernels for such as can set gradients to zero: from the first step on that does. (Measured on Mesa's
    /// software driver: a store that is never made costs 4 % of an AdamW step.)
    pub(super) fn let_zero_grads(&mut self) -> Result<()> {
        if self.programs.iter().all(|program| program.zero_grads) {
            return Ok(());
        }
        self.change_kernels(&Recipe::with_zero_grads)?;
        for program in &mut self.programs {
            program.zero_grads = true;
        }
        Ok(())
    }

    fn change_kernels(&mut self, change: &impl Fn(&Recipe) -> Option<Recipe>) -> Result<()> {
        let Self { gpu, lies, .. } = self;
        match lies {
            Lies::Arena { updates, .. } => {
                for dispatch in updates.iter_mut() {
                    dispatch.kernel = dispatch.kernel.changed(gpu, change)?;
                }
                Ok(())
            }
            Lies::Borrowed(borrowed) => borrowed.change_kernels(gpu, change),
        }
    }
}

/// A rule with its switches and slots.
fn describe(rule: &dyn Rule, tensor: &TensorSpec) -> String {
    let slots: Vec<&str> = rule.slots(tensor).iter().map(|slot| slot.name).collect();
    format!("{} with slots [{}]", rule.name_with_switches(tensor), slots.join(", "))
}
