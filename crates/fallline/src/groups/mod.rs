//! From tensors' names and shapes to parameter groups.

mod layers;
mod select;

use std::{collections::BTreeSet, sync::Arc};

pub use layers::Layers;
pub use select::Select;

use crate::{
    Error, Group, Result, Rule, Scope, TensorSpec,
    factors::{check, positive},
};

/// Puts tensors into groups by their names and shapes, and splits groups by what weights are decayed without and by
/// layers.
///
/// ```
/// use fallline::{AdamW, Group, Groups, Lion, TensorSpec};
///
/// # fn main() -> fallline::Result<()> {
/// let mut tensors = [
///     TensorSpec::new("embed.weight", [1000, 64]),
///     TensorSpec::new("blocks.0.weight", [64, 64]),
///     TensorSpec::new("blocks.0.bias", [64]),
/// ];
/// let groups = Groups::new()
///     .group(Group::new("embeddings", Lion::new()), "embed.*")
///     .rest(Group::new("weights", AdamW::new().weight_decay(0.1)))
///     .no_decay()
///     .assign(&mut tensors)?;
/// let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
/// assert_eq!(names, ["embeddings", "weights", "weights.no_decay"]);
/// assert_eq!(tensors[2].group.as_deref(), Some("weights.no_decay"));
/// // Optimizer::arena(&gpu, &groups, &tensors)
/// # Ok(())
/// # }
/// ```
///
/// It is what torch has lists of `{"params": …}` for, and optax the labels of `multi_transform`: every tensor belongs to
/// exactly one group, and one that several select is an error, as in torch, unless
/// [the first shall have it](Self::first_match_wins). A tensor that [names its group](TensorSpec::in_group) is in that.
/// Tensors without any group, and globs and names that match no tensor, are errors too, which list all of them.
///
/// What differs from group to group is the [`Group`]'s: the rule, the format of the state, the limit to the norm, and, by
/// [`Step::lr_of_group`](crate::Step::lr_of_group), the schedule.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// In their order, with what they select; `None`: the rest.
    groups: Vec<(Group, Option<Select>)>,
    no_decay: Option<Select>,
    layer_decay: Option<(f64, Layers)>,
    first_match_wins: bool,
    permits_unused: bool,
}

/// A group, or a part of one: its number, the layer, and whether its weights are decayed without.
type Part = (usize, Option<usize>, bool);

impl Groups {
    /// No groups yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group of what this selects.
    #[must_use]
    pub fn group(mut self, group: Group, select: impl Into<Select>) -> Self {
        self.groups.push((group, Some(select.into())));
        self
    }

    /// Adds a group of all tensors that no other selects.
    #[must_use]
    pub fn rest(mut self, group: Group) -> Self {
        self.groups.push((group, None));
        self
    }

    /// Decays no biases, no norms and nothing of one dimension: [`Select::no_decay`].
    #[must_use]
    pub fn no_decay(self) -> Self {
        self.no_decay_of(Select::no_decay())
    }

    /// Decays none of these: in every group whose rule has a weight decay, they are a group of their own with a weight
    /// decay of 0, called `<group>.no_decay`.
    ///
    /// timm's `param_groups_weight_decay`, transformers' `Trainer`, optax' `mask` of `adamw`.
    #[must_use]
    pub fn no_decay_of(mut self, select: impl Into<Select>) -> Self {
        self.no_decay = Some(select.into());
        self
    }

    /// Layer-wise learning-rate decay: every group is split by layers, into groups called `<group>.layer_<i>`, whose
    /// learning rates fall from the last layer to the first.
    ///
    /// ```text
    /// lr_scale ← lr_scale · decay^(n - i)                        layers 0 to n
    /// ```
    ///
    /// Source: Clark et al., *ELECTRA*, 2020, and Bao et al., *BEiT*, 2021; timm's `param_groups_layer_decay`. Where the head
    /// is not among the layers it is layer n by itself, as BEiT numbers them.
    #[must_use]
    pub fn layer_decay(mut self, decay: f64, layers: impl Into<Layers>) -> Self {
        self.layer_decay = Some((decay, layers.into()));
        self
    }

    /// Permits that several groups select a tensor: it belongs to the first of them.
    #[must_use]
    pub fn first_match_wins(mut self) -> Self {
        self.first_match_wins = true;
        self
    }

    /// Permits globs and names that match no tensor: for one list of groups for several models.
    #[must_use]
    pub fn permit_unused(mut self) -> Self {
        self.permits_unused = true;
        self
    }

    /// The groups, and each tensor [in its own](TensorSpec::group). Groups come in the order in which they were added, a
    /// group's parts by layer, and those without decay behind those with it. A group without tensors stays.
    ///
    /// Over borrowed buffers: `assign(tensors.iter_mut().map(|tensor| &mut tensor.spec))`. Of a [piece](crate::Whole)
    /// the shape is the piece's: assign groups to whole tensors.
    ///
    /// # Errors
    /// [`Error::Glob`], [`Error::NoMatch`], [`Error::Unselected`], [`Error::SelectedTwice`]; [`Error::UnknownGroup`],
    /// [`Error::DuplicateGroup`]; [`Error::Factor`] for a decay that is not finite and > 0; [`Error::GroupOption`] for a
    /// group that is split, though it has a `max_norm` of its own or a rule that looks at [its group](Scope::Group). The
    /// tensors are then as they were.
    pub fn assign<'a>(
        &self,
        tensors: impl IntoIterator<Item = &'a mut TensorSpec>,
    ) -> Result<Vec<Group>> {
        let tensors: Vec<&mut TensorSpec> = tensors.into_iter().collect();
        let specs: Vec<&TensorSpec> = tensors.iter().map(|tensor| &**tensor).collect();
        self.check(&specs)?;
        let parts = self.parts(&specs)?;
        let all: BTreeSet<Part> = parts.iter().copied().collect();
        self.check_splits(&all)?;
        let last = all.iter().filter_map(|(_, layer, _)| *layer).max().unwrap_or(0);
        let mut groups = Vec::new();
        for number in 0..self.groups.len() {
            let own: Vec<&Part> = all.iter().filter(|part| part.0 == number).collect();
            match own.as_slice() {
                [] => groups.push(self.groups[number].0.clone()),
                own => groups.extend(own.iter().map(|part| self.part(**part, last))),
            }
        }
        for (tensor, part) in tensors.into_iter().zip(parts) {
            tensor.group = Some(self.name(part));
        }
        Ok(groups)
    }

    /// Whether groups differ in name, all can be read, and everything is of use.
    fn check(&self, tensors: &[&TensorSpec]) -> Result<()> {
        let mut unused = Vec::new();
        for (index, (group, select)) in self.groups.iter().enumerate() {
            if self.groups[..index].iter().any(|(known, _)| known.name == group.name) {
                return Err(Error::DuplicateGroup { name: group.name.clone() });
            }
            if let Some(select) = select {
                select.check()?;
                let words = select.unused(tensors).into_iter();
                unused.extend(words.map(|words| format!("{words} of group '{}'", group.name)));
            }
        }
        if let Some(select) = &self.no_decay {
            select.check()?;
            // There may be none of a kind that is not decayed.
            let words = select.unused_patterns(tensors).into_iter();
            unused.extend(words.map(|words| format!("{words} of no_decay")));
        }
        if let Some((decay, layers)) = &self.layer_decay {
            check("layer_decay".into(), "finite and > 0", *decay, positive(*decay))?;
            layers.check()?;
            unused.extend(layers.unused(tensors));
        }
        match unused.is_empty() || self.permits_unused {
            true => Ok(()),
            false => Err(Error::NoMatch { patterns: unused }),
        }
    }

    /// What each tensor is in.
    fn parts(&self, tensors: &[&TensorSpec]) -> Result<Vec<Part>> {
        let numbers: Vec<Option<usize>> =
            tensors.iter().map(|tensor| self.number(tensor)).collect::<Result<_>>()?;
        let unselected = tensors.iter().zip(&numbers).filter(|(_, number)| number.is_none());
        let unselected: Vec<String> = unselected.map(|(tensor, _)| tensor.name.clone()).collect();
        if !unselected.is_empty() {
            return Err(Error::Unselected { tensors: unselected });
        }
        let layers = self.layer_decay.as_ref().map(|(_, layers)| layers.of(tensors));
        let decays: Vec<bool> =
            self.groups.iter().map(|(group, _)| without_decay(group).is_some()).collect();
        let part = |(index, number): (usize, usize)| {
            let exempt = self.no_decay.as_ref().is_some_and(|select| select.has(tensors[index]));
            let layer = layers.as_ref().map(|layers| layers[index]);
            (number, layer, exempt && decays[number])
        };
        Ok(numbers.into_iter().flatten().enumerate().map(part).collect())
    }

    /// The group of a tensor, if one has it.
    fn number(&self, tensor: &TensorSpec) -> Result<Option<usize>> {
        let mut numbered = self.groups.iter().enumerate();
        if let Some(name) = &tensor.group {
            let known = numbered.find(|(_, (group, _))| group.name == *name);
            return known.map(|(number, _)| Some(number)).ok_or_else(|| Error::UnknownGroup {
                tensor: tensor.name.clone(),
                group: name.clone(),
                known: self.groups.iter().map(|(g, _)| &*g.name).collect::<Vec<_>>().join(", "),
            });
        }
        let has = |select: &Option<Select>| select.as_ref().is_some_and(|s| s.has(tensor));
        let mut selecting = numbered.filter(|(_, (_, select))| has(select)).map(|(n, _)| n);
        let Some(first) = selecting.next() else {
            return Ok(self.groups.iter().position(|(_, select)| select.is_none()));
        };
        match selecting.next().filter(|_| !self.first_match_wins) {
            None => Ok(Some(first)),
            Some(second) => {
                let [group, other] = [first, second].map(|n| self.groups[n].0.name.clone());
                Err(Error::SelectedTwice { tensor: tensor.name.clone(), group, other })
            }
        }
    }

    /// Whether nothing that holds for a group as a whole is split.
    fn check_splits(&self, parts: &BTreeSet<Part>) -> Result<()> {
        for (number, (group, _)) in self.groups.iter().enumerate() {
            if parts.iter().filter(|part| part.0 == number).count() < 2 {
                continue;
            }
            let (option, reason) = if group.max_norm.is_some_and(f64::is_finite) {
                ("max_norm", "it is split into several groups, and each would be clipped to it")
            } else if group.rule.scope() == Scope::Group {
                ("a rule that looks at its group", "it is split into several groups")
            } else {
                continue;
            };
            return Err(Error::GroupOption { group: group.name.clone(), option, reason });
        }
        Ok(())
    }

    fn name(&self, (number, layer, exempt): Part) -> String {
        let mut name = self.groups[number].0.name.clone();
        if let Some(layer) = layer {
            name += &format!(".layer_{layer}");
        }
        if exempt {
            name += ".no_decay";
        }
        name
    }

    /// A part of a group, where `last` is the last layer.
    fn part(&self, part: Part, last: usize) -> Group {
        let (number, layer, exempt) = part;
        let mut group = self.groups[number].0.clone();
        group.name = self.name(part);
        if let (Some(layer), Some((decay, _))) = (layer, &self.layer_decay) {
            group.lr_scale *= decay.powf((last - layer) as f64);
        }
        if let Some(rule) = without_decay(&group).filter(|_| exempt) {
            group.rule = rule;
        }
        group
    }
}

/// A group's rule without weight decay, if it has any.
fn without_decay(group: &Group) -> Option<Arc<dyn Rule>> {
    let hypers = |rule: &dyn Rule| (rule.hyper(), rule.step_hyper());
    group.rule.with_weight_decay(0.0).filter(|rule| hypers(&**rule) != hypers(&*group.rule))
}

#[cfg(test)]
mod tests;
