//! What each rule is trained with here.

use fallline::{Group, deserialize_rule};
use serde_json::{Value, json};

use super::models::GROUPS;
use crate::rule::RuleName;

/// The learning rate that the rule likes on the digits.
pub(super) fn default_lr(rule: RuleName) -> f64 {
    match rule.as_str() {
        "adamw" | "adam" => 4e-3,
        "sgd" => 0.05,
        "lion" => 3e-4,
        "asgd" => 0.3,
        "rprop" => 2e-3,
        "sophia" => 1e-3,
        _ => rule.rule().lr(),
    }
}

/// Its options for a group with this weight decay, where that is decoupled; the others are its own defaults.
fn options(rule: RuleName, lr: f64, weight_decay: f64) -> Value {
    match rule.as_str() {
        "adamw" | "lion" | "sophia" => json!({ "lr": lr, "weight_decay": weight_decay }),
        "sgd" => json!({ "lr": lr, "momentum": 0.9 }),
        // Steps that grow on and on leave what they have learned.
        "rprop" => json!({ "lr": lr, "step_sizes": [1e-3 * lr, 3.0 * lr] }),
        // A factor of its relative step.
        "adafactor_hf" => json!({}),
        _ => json!({ "lr": lr }),
    }
}

/// Those for the weights, at the beginning.
pub(crate) fn of_weights(rule: RuleName) -> Value {
    options(rule, default_lr(rule), WEIGHT_DECAY)
}

const WEIGHT_DECAY: f64 = 0.1;

/// The rule for the weights and for the biases, which do not decay.
pub(super) fn groups(rule: RuleName, lr: f64) -> [Group; 2] {
    let decays = [WEIGHT_DECAY, 0.0].map(|weight_decay| {
        let options = options(rule, lr, weight_decay);
        deserialize_rule(rule.as_str(), options).expect("options that the rule has")
    });
    let [weights, biases] = decays;
    [Group::new(GROUPS[0], weights), Group::new(GROUPS[1], biases)]
}
