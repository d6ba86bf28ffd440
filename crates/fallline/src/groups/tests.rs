//! Which tensor comes into which group.

use super::*;
use crate::{AdamW, Rprop, Sgd};

/// A small transformer, as timm calls its tensors.
fn tensors() -> Vec<TensorSpec> {
    let mut tensors = vec![
        TensorSpec::new("cls_token", [1, 1, 8]),
        TensorSpec::new("patch_embed.proj.weight", [8, 3, 4, 4]),
        TensorSpec::new("patch_embed.proj.bias", [8]),
    ];
    for block in [0, 1, 10] {
        let name = |rest: &str| format!("blocks.{block}.{rest}");
        tensors.push(TensorSpec::new(name("norm1.weight"), [8]));
        tensors.push(TensorSpec::new(name("mlp.2.weight"), [8, 8]));
        tensors.push(TensorSpec::new(name("mlp.2.bias"), [8]));
    }
    tensors.push(TensorSpec::new("norm.weight", [8]));
    tensors.push(TensorSpec::new("head.weight", [10, 8]));
    tensors
}

fn assign(groups: &Groups, tensors: &mut [TensorSpec]) -> Vec<Group> {
    groups.assign(tensors).unwrap()
}

fn says(groups: &Groups) -> String {
    let mut tensors = tensors();
    let before = tensors.clone();
    let error = groups.assign(&mut tensors).unwrap_err();
    assert_eq!(tensors, before);
    error.to_string()
}

fn group(name: &str) -> Group {
    Group::new(name, AdamW::new().weight_decay(0.1))
}

fn decay_of(group: &Group) -> f64 {
    group.rule.downcast_ref::<AdamW>().unwrap().weight_decay
}

#[test]
fn every_rule_but_rprop_can_do_without_its_decay() {
    for name in crate::RULE_NAMES {
        let rule = crate::rule_by_name(name).unwrap();
        let without = rule.with_weight_decay(0.0);
        assert_eq!(without.is_some(), *name != "rprop", "{name}");
        if let Some(rule) = without {
            assert!(rule.name() == *name && format!("{rule:?}").contains("weight_decay: 0.0"));
            assert!(rule.check().is_ok(), "{name}");
        }
    }
}

#[test]
fn the_first_that_is_added_comes_first_and_the_rest_may_come_anywhere() {
    let groups = Groups::new()
        .group(group("head"), Select::name("head.weight").or("norm.*"))
        .rest(group("rest"))
        .group(group("blocks"), "blocks.*");
    let mut tensors = tensors();
    let names: Vec<String> =
        assign(&groups, &mut tensors).into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["head", "rest", "blocks"]);
    let of = |name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        tensor.group.clone().unwrap()
    };
    assert_eq!(of("norm.weight"), "head");
    assert_eq!(of("cls_token"), "rest");
    assert_eq!(of("blocks.10.mlp.2.bias"), "blocks");
}

#[test]
fn a_tensor_may_name_its_group_itself() {
    let groups = Groups::new().group(group("a"), "*").rest(group("b")).no_decay();
    let mut tensors =
        [TensorSpec::new("w", [2, 2]).in_group("b"), TensorSpec::new("v", [2]).in_group("b")];
    let names: Vec<String> =
        groups.assign(&mut tensors).unwrap().into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["a", "b", "b.no_decay"]);
    assert_eq!(tensors[0].group.as_deref(), Some("b"));
    assert_eq!(tensors[1].group.as_deref(), Some("b.no_decay"));
    let error = groups.assign(&mut [TensorSpec::new("w", []).in_group("c")]).unwrap_err();
    assert_eq!(error.to_string(), "tensor 'w' is in group 'c', but the groups are: a, b");
}

#[test]
fn what_is_wrong_is_named_and_nothing_changes() {
    let blocks = || Groups::new().group(group("blocks"), "blocks.*");
    assert_eq!(
        says(&blocks()),
        "no group selects 'cls_token', 'patch_embed.proj.weight', 'patch_embed.proj.bias', \
         'norm.weight', 'head.weight': Groups::rest makes one of all others"
    );
    let rest = || blocks().rest(group("rest"));
    assert_eq!(
        says(&rest().group(group("biases"), "*.bias")),
        "tensor 'blocks.0.mlp.2.bias' is selected by group 'blocks' and by group 'biases'"
    );
    assert_eq!(
        says(
            &rest()
                .group(group("a"), ["heads.*", "head.*"])
                .group(group("b"), Select::names(["b1", "norm.weight", "b2"]))
                .group(group("c"), Select::max_dims(9).and(Select::filter(|_| false)))
                .no_decay_of(Select::no_decay().or("pos_embed"))
                .layer_decay(0.5, ["blocks.#.*", "lays.#"])
        ),
        "no tensor matches the glob 'heads.*' of group 'a', the name 'b1' of group 'b', the name \
         'b2' of group 'b', the selection of group 'c', the glob 'pos_embed' of no_decay, the glob \
         'lays.#' of the layers"
    );
    assert_eq!(says(&rest().rest(group("blocks"))), "group 'blocks' is given twice");
    let range = "the glob 'a[b': invalid range pattern (at 1)";
    assert_eq!(says(&rest().group(group("a"), "a[b")), range);
    assert_eq!(says(&rest().no_decay_of(Select::max_dims(1).except("a[b"))), range);
    assert_eq!(says(&rest().layer_decay(0.5, ["*", "a[b"])), range);
    assert_eq!(
        says(&rest().layer_decay(0.5, ["a.#.#"])),
        "the glob 'a.#.#': there is more than one '#'"
    );
    for decay in [0.0, -0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(
            says(&rest().layer_decay(decay, ["*"])),
            format!("layer_decay must be finite and > 0, found {decay}")
        );
    }
    let clipped = |max_norm| Groups::new().rest(group("all").max_norm(max_norm)).no_decay();
    assert_eq!(
        says(&clipped(1.0)),
        "group 'all' cannot have max_norm: it is split into several groups, and each would be \
         clipped to it"
    );
    // No limit is none for its parts as well; and what is not split may have one.
    assert_eq!(assign(&clipped(f64::INFINITY), &mut tensors()).len(), 2);
    assert_eq!(assign(&clipped(1.0), &mut [TensorSpec::new("w", [2, 2])]).len(), 1);
}

/// A rule that sums over its group, of which parts would have sums of their own.
#[derive(Debug)]
struct OfGroup;

impl Rule for OfGroup {
    fn source(&self) -> crate::Source {
        crate::Source { path: "of_group", text: "" }
    }

    fn lr(&self) -> f64 {
        0.1
    }

    fn check(&self) -> Result<(), crate::OutOfRange> {
        Ok(())
    }

    fn slots(&self, _: &TensorSpec) -> Vec<crate::Slot> {
        Vec::new()
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        Scope::Group
    }
}

#[test]
fn a_rule_that_looks_at_its_group_has_one() {
    let groups = Groups::new().rest(Group::new("all", OfGroup));
    assert_eq!(assign(&groups.clone().no_decay(), &mut tensors()).len(), 1);
    assert_eq!(
        says(&groups.layer_decay(0.5, ["blocks.#.*"])),
        "group 'all' cannot have a rule that looks at its group: it is split into several groups"
    );
}

#[test]
fn what_is_permitted_is_no_error() {
    let groups = Groups::new()
        .group(group("biases"), "*.bias")
        .group(group("blocks"), ["blocks.*", "layers.*"])
        .rest(group("rest"))
        .first_match_wins()
        .permit_unused();
    let mut tensors = tensors();
    assert_eq!(assign(&groups, &mut tensors).len(), 3);
    assert_eq!(tensors[5].group.as_deref(), Some("biases"), "{}", tensors[5].name);
    assert_eq!(tensors[4].group.as_deref(), Some("blocks"), "{}", tensors[4].name);
    // A list without entries is meant to select nothing.
    let empty = Groups::new().group(group("none"), Select::names([""; 0])).rest(group("rest"));
    assert_eq!(assign(&empty, &mut self::tensors()).len(), 2);
}

#[test]
fn biases_norms_and_vectors_are_not_decayed() {
    let without = [
        ("scale", vec![]),
        ("w", vec![7]),
        ("conv.bias", vec![1, 8, 1, 1]),
        ("t5.relative_attention_bias.weight", vec![32, 8]),
        ("h.LayerNorm.weight", vec![8, 1]),
        ("h.RMSNorm.scale", vec![8, 1]),
        ("h.norm.weight", vec![8, 1]),
        ("norm", vec![8, 1]),
        ("h.post_norm.weight", vec![8, 1]),
        ("h.post_norm", vec![8, 1]),
    ];
    let with = ["w", "h.normal.weight", "norm1.weight", "enorm", "h.norm_2.weight"];
    let no_decay = Select::no_decay();
    for (name, shape) in without {
        assert!(no_decay.has(&TensorSpec::new(name, shape)), "{name}");
    }
    for name in with {
        assert!(!no_decay.has(&TensorSpec::new(name, [8, 8])), "{name}");
    }
}

#[test]
fn groups_are_split_where_there_is_decay_to_do_without() {
    let groups = Groups::new()
        .group(group("head"), "head.*")
        .group(Group::new("tokens", Sgd::new()), "cls_token")
        .group(Group::new("norms", Rprop::new()), "*norm*")
        .rest(group("rest"))
        .no_decay_of(Select::no_decay().or("cls_token"));
    let mut tensors = tensors();
    let groups = assign(&groups, &mut tensors);
    let found: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(found, ["head", "tokens", "norms", "rest", "rest.no_decay"]);
    assert_eq!((decay_of(&groups[3]), decay_of(&groups[4])), (0.1, 0.0));
    for tensor in &tensors {
        let exempt = tensor.name.ends_with("bias");
        assert_eq!(tensor.group.as_deref() == Some("rest.no_decay"), exempt, "{}", tensor.name);
    }
}

/// Numbers in their order, the head behind them; what timm and BEiT make of it.
#[test]
fn rates_fall_from_the_last_layer_to_the_first() {
    let by_name = |tensor: &TensorSpec| match tensor.name.split('.').collect::<Vec<_>>()[..] {
        ["blocks", block, ..] => Some(match block {
            "10" => 3,
            _ => 1 + block.parse::<usize>().unwrap(),
        }),
        ["norm" | "head", ..] => None,
        _ => Some(0),
    };
    let globs = || Layers::from(["cls_token", "patch_embed.*", "blocks.#.*"]);
    let first = || Layers::globs(["cls_token|patch_embed.*", "blocks.#.*"]);
    for (layers, last) in [(globs(), 5), (first(), 4), (Layers::by(by_name), 4)] {
        let groups = Groups::new().rest(group("all").lr_scale(0.5)).layer_decay(0.75, layers);
        let mut tensors = tensors();
        let groups = assign(&groups, &mut tensors);
        assert_eq!(groups.len(), last + 1);
        for (layer, group) in groups.iter().enumerate() {
            assert_eq!(group.name, format!("all.layer_{layer}"));
            let power = i32::try_from(last - layer).unwrap();
            assert!((group.lr_scale - 0.5 * 0.75f64.powi(power)).abs() < 1e-16);
        }
        let layer_of = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
            tensor.group.clone().unwrap()
        };
        assert_eq!(layer_of("cls_token"), "all.layer_0");
        assert_eq!(layer_of("blocks.10.mlp.2.weight"), format!("all.layer_{}", last - 1));
        assert_eq!(layer_of("norm.weight"), format!("all.layer_{last}"));
    }
}

#[test]
fn layers_and_decay_split_a_group_together() {
    let groups = Groups::new()
        .group(group("head"), "head.*")
        .rest(group("rest"))
        .no_decay()
        .layer_decay(0.5, ["blocks.#.*"]);
    let mut tensors = tensors();
    let groups = assign(&groups, &mut tensors);
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let expected = [
        "head.layer_3",
        "rest.layer_0",
        "rest.layer_0.no_decay",
        "rest.layer_1",
        "rest.layer_1.no_decay",
        "rest.layer_2",
        "rest.layer_2.no_decay",
        "rest.layer_3",
        "rest.layer_3.no_decay",
    ];
    assert_eq!(names, expected);
    let scales: Vec<f64> = groups.iter().map(|group| group.lr_scale).collect();
    assert_eq!(scales, [1.0, 0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0]);
    for group in &groups {
        let decay = if group.name.ends_with("no_decay") { 0.0 } else { 0.1 };
        assert_eq!(decay_of(group), decay, "{}", group.name);
    }
}

/// The number may be any of those in a name; one that is none of 64 bits is no number.
#[test]
fn a_layers_number_is_found_wherever_it_stands() {
    let names = ["v1.h.2.w", "v1.h.10.w", "v1.h.99999999999999999999.w", "v1.x", "h.3.w"];
    let tensors = names.map(|name| TensorSpec::new(name, []));
    let refs: Vec<&TensorSpec> = tensors.iter().collect();
    assert_eq!(Layers::from(["*h.#.*"]).of(&refs), [0, 2, 3, 3, 1]);
    assert_eq!(Layers::from(["v#.*"]).of(&refs), [0, 0, 0, 0, 1]);
    assert_eq!(Layers::from(["v1.x|h.#.w|*.h.#.*"]).of(&refs), [1, 3, 4, 0, 2]);
    assert_eq!(Layers::from(["*x", "*h.#.w"]).of(&refs), [1, 3, 4, 0, 2]);
    assert_eq!(Layers::globs([""; 0]).of(&refs), [0; 5]);
}
