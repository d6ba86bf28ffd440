//! What every rule says of its hyperparameters.

use super::{RULE_NAMES, Rule, rule_by_name};

/// A rule in words, with another number in the place of one.
fn with(rule: &dyn Rule, old: &str, new: &str) -> String {
    let words = format!("{rule:?}");
    assert!(words.contains(old), "{words} has no {old}");
    words.replacen(old, new, 1)
}

#[test]
fn a_rule_with_another_weight_decay_differs_in_nothing_else() {
    for name in RULE_NAMES {
        let rule = rule_by_name(name).unwrap();
        let Some(decay) = rule.weight_decay() else {
            assert!(*name == "rprop" && rule.with_weight_decay(0.25).is_none(), "{name}");
            continue;
        };
        let other = rule.with_weight_decay(0.25).unwrap();
        assert_eq!(other.weight_decay(), Some(0.25));
        let (old, new) = (format!(" weight_decay: {decay:?}"), " weight_decay: 0.25");
        assert_eq!(format!("{other:?}"), with(&*rule, &old, new));
    }
}

/// torch's schedulers move `momentum` or the first of `betas`.
#[test]
fn a_rule_with_another_momentum_differs_in_nothing_else() {
    let mut without = Vec::new();
    for name in RULE_NAMES {
        let rule = rule_by_name(name).unwrap();
        let Some(other) = rule.with_momentum(0.25) else {
            without.push(*name);
            continue;
        };
        let words = format!("{rule:?}");
        let key = if words.contains(" betas: (") { " betas: (" } else { " momentum: " };
        let (_, behind) = words.split_once(key).unwrap();
        let old = behind.split([',', ' ', ')']).next().unwrap();
        let expected = with(&*rule, &format!("{key}{old}"), &format!("{key}0.25"));
        assert_eq!(format!("{other:?}"), expected);
    }
    let expected = [
        "adagrad",
        "adadelta",
        "asgd",
        "rprop",
        "adafactor",
        "adafactor_hf",
        "schedulefree_adamw",
        "schedulefree_sgd",
    ];
    assert_eq!(without, expected);
    let rule = super::AdafactorHf::new().beta1(Some(0.9)).with_momentum(0.25).unwrap();
    let expected = super::AdafactorHf::new().beta1(Some(0.25));
    assert_eq!(rule.downcast_ref(), Some(&expected));
}
