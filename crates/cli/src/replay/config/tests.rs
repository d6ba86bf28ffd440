//! Configurations, right and wrong.

use super::*;

fn says(text: &str) -> String {
    format!("{:#}", Config::parse(text).unwrap_err())
}

#[test]
fn a_group_overrides_what_it_says_and_keeps_its_ratio() {
    let config = Config::parse(
        "[optimizer]\nrule = 'adamw'\nlr = 1e-3\nweight_decay = 0.1\nbetas = [0.8, 0.9]\n\
         [[group]]\ntensors = ['*.bias', 'ln_?']\nweight_decay = 0.0\nlr = 2e-3\n\
         [[group]]\ntensors = ['head']\nrule = 'lion'\n",
    )
    .unwrap();
    let names = ["w", "a.bias", "ln_1", "head"].map(|name| TensorSpec::new(name, []));
    let groups: Vec<_> =
        config.assign(names.into_iter()).unwrap().into_iter().map(|s| s.group).collect();
    let second = Some("[[group]] number 1".to_owned());
    assert_eq!(groups[..3], [None, second.clone(), second]);
    let Rule::AdamW(bias) = config.groups[1].rule else { panic!() };
    assert_eq!((bias.lr, bias.weight_decay, bias.betas), (2e-3, 0.0, (0.8, 0.9)));
    // Another rule: its own defaults, but the base's learning rate.
    let Rule::Lion(head) = config.groups[2].rule else { panic!() };
    assert_eq!((head.lr, head.weight_decay, head.betas), (1e-3, 0.0, (0.9, 0.99)));
    assert_eq!(config.rates(None).unwrap(), [1e-3, 2e-3, 1e-3]);
    assert_eq!(config.rates(Some(0.5)).unwrap(), [0.5, 1.0, 0.5]);
}

#[test]
fn what_is_wrong_is_named() {
    let unknown = says("[optimizer]\nrule = 'adamw'\nlearning_rate = 1.0\n");
    assert!(unknown.contains("unknown field `learning_rate`"), "{unknown}");
    let unknown = says("[optimizer]\nrule = 'adamw'\n[[group]]\ntensors = ['a']\nwd = 1.0\n");
    assert!(unknown.contains("[[group]] number 1: rule 'adamw': unknown field `wd`"), "{unknown}");
    let unknown = says("[optimizer]\nrule = 'adamw'\n[clipping]\nnorm = 1.0\n");
    assert!(unknown.contains("unknown field `clipping`"), "{unknown}");
    let unknown = says("[optimizer]\nrule = 'adamv'\n");
    assert!(unknown.contains("unknown variant `adamv`"), "{unknown}");
    assert_eq!(says("[optimizer]\nlr = 1.0\n"), "[optimizer] must name its rule");
    assert_eq!(
        says("[optimizer]\nrule = 'lion'\nmomentum = 0.9\n"),
        "[optimizer]: rule 'lion': unknown field `momentum`, expected one of `lr`, `betas`, \
         `weight_decay`, `maximize`"
    );
    let kind = says("[optimizer]\nrule = 'lion'\nlr = 'fast'\n");
    assert!(kind.contains("expected f64") && kind.contains("`lr`"), "{kind}");
    let place = says("[optimizer]\nrule = 'lion'\nlr == 1\n");
    assert!(place.contains("line 3, column 5"), "{place}");
    assert_eq!(
        says("[optimizer]\nrule = 'lion'\n[[group]]\nlr = 0.9\n"),
        "[[group]] number 1: the key 'tensors' is missing"
    );
}

#[test]
fn a_tensor_in_two_groups_and_a_group_without_tensors_are_errors() {
    let config = |globs: [&str; 2]| {
        let group = |glob| format!("[[group]]\ntensors = ['{glob}']\n");
        let groups = globs.map(group).concat();
        Config::parse(&format!("[optimizer]\nrule = 'sgd'\n{groups}")).unwrap()
    };
    let assign = |globs| {
        let specs = [TensorSpec::new("a.b", [])].into_iter();
        config(globs).assign(specs).unwrap_err().to_string()
    };
    assert_eq!(assign(["a*", "*b"]), "tensor 'a.b' belongs to [[group]] number 1 and to number 2");
    assert_eq!(assign(["a*", "c"]), "[[group]] number 2: its tensors match no tensor of the trace");
}
