//! Which tensors are in which group, and the parts that groups are split into.

use fallline::AdamW;

use super::super::*;

/// The group of each tensor, 0 for the base, in a config of these groups.
fn groups_of(groups: &str, names: &[&str]) -> anyhow::Result<Vec<usize>> {
    let config = Config::parse(&format!("[optimizer]\nrule = 'sgd'\n{groups}"))?;
    let assigned = config.assign(names.iter().map(|name| TensorSpec::new(*name, [])))?;
    Ok(assigned.specs.iter().map(|spec| config.number(spec.group.as_deref().unwrap())).collect())
}

#[test]
fn a_name_stands_for_itself_whatever_is_in_it() {
    for name in ["block[0].w", "a*", "a?", "a{b", "a{b,c}", "a\\b", "[!a]", "é/ö", "**"] {
        // What the name would match, or be matched by, as a glob.
        let others = ["block0.w", "aZ", "ab", "ac", "a", "b", "a/b"];
        let names = [&[name], &others[..]].concat();
        let listed = toml::Value::from(name);
        let found = groups_of(&format!("[[group]]\nnames = [{listed}]\n"), &names).unwrap();
        assert_eq!(found, [1, 0, 0, 0, 0, 0, 0, 0], "{name}");
    }
}

#[test]
fn a_group_may_list_names_beside_globs() {
    let text =
        "[[group]]\nnames = ['a*', 'b']\ntensors = ['c*', 'd']\n[[group]]\ntensors = ['e']\n";
    let names = ["a*", "az", "b", "c*", "cz", "d", "e", "f"];
    assert_eq!(groups_of(text, &names).unwrap(), [1, 0, 1, 1, 1, 1, 2, 0]);
}

#[test]
fn a_group_without_tensors_keeps_its_number() {
    let text = "[[group]]\ntensors = []\n[[group]]\nnames = ['b']\n[[group]]\nnames = []\nlr = 2\n";
    assert_eq!(groups_of(text, &["a", "b"]).unwrap(), [0, 2]);
    let config = Config::parse(&format!("[optimizer]\nrule = 'sgd'\nlr = 1\n{text}")).unwrap();
    let tensors = ["a", "b"].map(|name| TensorSpec::new(name, []));
    let groups = config.assign(tensors.into_iter()).unwrap().groups;
    assert_eq!(config.rates(&groups, None).unwrap(), [1.0, 1.0, 1.0, 2.0]);
}

#[test]
fn a_name_of_no_tensor_and_one_of_two_groups_are_errors() {
    let says = |text: &str| groups_of(text, &["a.b", "c"]).unwrap_err().to_string();
    assert_eq!(
        says("[[group]]\nnames = ['c']\n[[group]]\nnames = ['a.b', 'a.*']\n"),
        "no tensor matches the name 'a.*' of group '[[group]] number 2'"
    );
    let both =
        "tensor 'a.b' is selected by group '[[group]] number 1' and by group '[[group]] number 2'";
    assert_eq!(says("[[group]]\nnames = ['a.b']\n[[group]]\nnames = ['c', 'a.b']\n"), both);
    assert_eq!(says("[[group]]\ntensors = ['a.?']\n[[group]]\nnames = ['a.b']\n"), both);
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
    assert_eq!(
        assign(["a*", "*b"]),
        "tensor 'a.b' is selected by group '[[group]] number 1' and by group '[[group]] number 2'"
    );
    assert_eq!(assign(["a*", "c"]), "no tensor matches the glob 'c' of group '[[group]] number 2'");
}

/// The name of each tensor's group, in a config of this.
fn names_of_groups(text: &str, tensors: &[(&str, usize)]) -> anyhow::Result<Vec<String>> {
    let config = Config::parse(&format!("[optimizer]\nrule = 'adamw'\nlr = 1\n{text}"))?;
    let spec = |(name, dims): &(&str, usize)| TensorSpec::new(*name, vec![2; *dims]);
    let assigned = config.assign(tensors.iter().map(spec))?;
    Ok(assigned.specs.into_iter().map(|spec| spec.group.unwrap()).collect())
}

#[test]
fn a_group_may_have_what_has_few_dimensions() {
    let tensors = [("a.w", 2), ("a.b", 1), ("b.b", 1), ("s", 0)];
    let text = "[[group]]\nmax_dims = 0\n[[group]]\ntensors = ['a.*']\nmax_dims = 1\n";
    let [base, first, second] = ["optimizer", "[[group]] number 1", "[[group]] number 2"];
    assert_eq!(names_of_groups(text, &tensors).unwrap(), [base, second, base, first]);
    let overlap = "[[group]]\nmax_dims = 0\n[[group]]\nmax_dims = 1\n";
    let error = names_of_groups(overlap, &tensors).unwrap_err().to_string();
    assert_eq!(error, format!("tensor 's' is selected by group '{first}' and by group '{second}'"));
    let permitted = format!("first_match_wins = true\n{overlap}");
    assert_eq!(names_of_groups(&permitted, &tensors).unwrap(), [base, second, second, first]);
    let unused = "[[group]]\ntensors = ['s', 'x']\n";
    let error = names_of_groups(unused, &tensors).unwrap_err().to_string();
    assert_eq!(error, format!("no tensor matches the glob 'x' of group '{first}'"));
    let permitted = format!("permit_unused = true\n{unused}");
    assert_eq!(names_of_groups(&permitted, &tensors).unwrap(), [base, base, base, first]);
}

#[test]
fn groups_are_split_by_decay_and_by_layers() {
    let text = "[optimizer]\nrule = 'adamw'\nlr = 1\nweight_decay = 0.1\nno_decay = ['pos']\n\
                layer_decay = 0.5\nlayers = ['pos', 'h.#.*']\n\
                [[group]]\ntensors = ['head.*']\nlr = 3\n";
    let config = Config::parse(text).unwrap();
    let tensors = [("pos", 2), ("h.0.w", 2), ("h.0.b", 1), ("h.1.w", 2), ("head.w", 2)];
    let spec = |(name, dims)| TensorSpec::new(name, vec![2; dims]);
    let Assigned { specs, groups, .. } = config.assign(tensors.into_iter().map(spec)).unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let expected = [
        "optimizer.layer_0.no_decay",
        "optimizer.layer_1",
        "optimizer.layer_1.no_decay",
        "optimizer.layer_2",
        "[[group]] number 1.layer_3",
    ];
    assert_eq!(names, expected);
    let of: Vec<_> = specs.iter().map(|spec| spec.group.as_deref().unwrap()).collect();
    assert_eq!(of, expected);
    let decay = |group: &Group| group.rule.downcast_ref::<AdamW>().unwrap().weight_decay;
    assert_eq!(groups.iter().map(decay).collect::<Vec<_>>(), [0.0, 0.1, 0.0, 0.1, 0.1]);
    // Those of [optimizer] and of each [[group]], times what is left of them in each layer.
    let rates = |recorded| config.rates(&groups, recorded).unwrap();
    assert_eq!(rates(None), [0.125, 0.25, 0.25, 0.5, 3.0]);
    assert_eq!(rates(Some(&[2.0])), [0.25, 0.5, 0.5, 1.0, 6.0]);
    assert_eq!(rates(Some(&[2.0, 7.0])), [0.25, 0.5, 0.5, 1.0, 7.0]);
    let wrong = config.rates(&groups, Some(&[1.0; 5])).unwrap_err().to_string();
    assert!(wrong.ends_with("2 in all, found 5"), "{wrong}");
}

/// The tenth is not a part of the first.
#[test]
fn a_part_of_a_group_is_known_by_its_name() {
    let groups: String = (0..11).map(|i| format!("[[group]]\nnames = ['t{i}']\n")).collect();
    let config = Config::parse(&format!("[optimizer]\nrule = 'sgd'\n{groups}")).unwrap();
    for (name, number) in [
        ("optimizer", 0),
        ("optimizer.layer_1", 0),
        ("[[group]] number 1.no_decay", 1),
        ("[[group]] number 10", 10),
        ("[[group]] number 11.layer_1", 11),
    ] {
        assert_eq!(config.number(name), number, "{name}");
    }
}

#[test]
fn a_group_may_be_frozen_for_some_steps() {
    let frozen = |text: &str| {
        let text = format!("[optimizer]\nrule = 'sgd'\n[[group]]\nnames = ['a']\n{text}");
        let config = Config::parse(&text).unwrap();
        let tensors = ["a", "b"].map(|name| TensorSpec::new(name, []));
        let Assigned { specs, frozen, .. } = config.assign(tensors.into_iter()).unwrap();
        let of = |(frozen, select): &(Frozen, Select)| (*frozen, select.of(&specs).unwrap());
        frozen.iter().map(of).collect::<Vec<_>>()
    };
    let in_steps = |text: &str| {
        let frozen = frozen(text);
        assert_eq!(frozen[0].1, [0]);
        (1..=5).filter(|t| frozen[0].0.is_in(*t)).collect::<Vec<_>>()
    };
    assert_eq!(in_steps("frozen = true"), [1, 2, 3, 4, 5]);
    assert_eq!(in_steps("frozen = { from_step = 4 }"), [4, 5]);
    assert_eq!(in_steps("frozen = { to_step = 2 }"), [1, 2]);
    assert_eq!(in_steps("frozen = { from_step = 2, to_step = 3 }"), [2, 3]);
    assert!(frozen("frozen = false").is_empty() && frozen("").is_empty());
}
