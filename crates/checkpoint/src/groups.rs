//! What a file tells of an optimizer's groups.

use fallline::Optimizer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A group of the optimizer that was saved, to be read: what is loaded into may have other groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedGroup {
    /// Its name.
    pub name: String,
    /// The name of its rule.
    pub rule: String,
    /// The rule's hyperparameters by torch's names; null where the rule is the caller's own.
    pub options: Value,
    /// Its tensors, by name, in the optimizer's order.
    pub tensors: Vec<String>,
}

impl SavedGroup {
    /// Those of an optimizer.
    pub(crate) fn all(optimizer: &Optimizer) -> fallline::Result<Vec<Self>> {
        let mut groups: Vec<Self> = Vec::new();
        for group in optimizer.groups() {
            groups.push(Self {
                name: group.name.clone(),
                rule: group.rule.name().to_owned(),
                options: fallline::serialize_rule(&*group.rule, serde_json::value::Serializer)
                    .unwrap_or(Value::Null),
                tensors: Vec::new(),
            });
        }
        for (id, spec) in optimizer.tensors() {
            let name = &optimizer.group_of(id)?.name;
            if let Some(group) = groups.iter_mut().find(|group| group.name == *name) {
                group.tensors.push(spec.name.clone());
            }
        }
        Ok(groups)
    }
}
