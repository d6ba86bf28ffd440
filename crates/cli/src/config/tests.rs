//! Configurations, right and wrong.

use fallline::{AdamW, Dtype, DynamicScale, Lion, Precision, StateFormat};

use super::*;

mod groups;

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
    let Assigned { specs, groups, .. } = config.assign(names.into_iter()).unwrap();
    let of: Vec<_> = specs.iter().map(|spec| spec.group.as_deref().unwrap()).collect();
    let [first, second] = ["[[group]] number 1", "[[group]] number 2"];
    assert_eq!(of, ["optimizer", first, first, second]);
    let bias: &AdamW = groups[1].rule.downcast_ref().unwrap();
    assert_eq!((bias.lr, bias.weight_decay, bias.betas), (2e-3, 0.0, (0.8, 0.9)));
    // Another rule: its own defaults, but the base's learning rate.
    let head: &Lion = groups[2].rule.downcast_ref().unwrap();
    assert_eq!((head.lr, head.weight_decay, head.betas), (1e-3, 0.0, (0.9, 0.99)));
    assert_eq!(config.rates(&groups, None).unwrap(), [1e-3, 2e-3, 1e-3]);
    assert_eq!(config.rates(&groups, Some(&[0.5])).unwrap(), [0.5, 1.0, 0.5]);
}

#[test]
fn a_rate_of_each_group_needs_no_ratio() {
    let config = |lr: f64| {
        let groups = "[[group]]\ntensors = ['a']\nlr = 2.0\n[[group]]\nnames = []\n";
        Config::parse(&format!("[optimizer]\nrule = 'sgd'\nlr = {lr:?}\n{groups}")).unwrap()
    };
    let rates = |lr, recorded: &[f64]| {
        let config = config(lr);
        let tensors = ["a", "b"].map(|name| TensorSpec::new(name, []));
        let groups = config.assign(tensors.into_iter()).unwrap().groups;
        config.rates(&groups, Some(recorded))
    };
    for lr in [1.0, 0.0] {
        assert_eq!(rates(lr, &[0.5, 0.0, 0.25]).unwrap(), [0.5, 0.0, 0.25]);
        for wrong in [&[0.5, 1.0][..], &[], &[0.5; 4]] {
            let expected = format!(
                "must hold one learning rate, or one for [optimizer] and for each [[group]], 3 in \
                 all, found {}",
                wrong.len()
            );
            assert_eq!(rates(lr, wrong).unwrap_err().to_string(), expected);
        }
    }
    assert_eq!(rates(1.0, &[0.5]).unwrap(), [0.5, 1.0, 0.5]);
    let none = rates(0.0, &[0.5]).unwrap_err().to_string();
    assert_eq!(none, "[[group]] number 1: its lr 2 has no ratio to the base's, which is 0");
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
        "[[group]] number 1: the key 'names', 'tensors' or 'max_dims' is missing"
    );
    let kind = says("[optimizer]\nrule = 'lion'\n[[group]]\nnames = 'a'\n");
    let expected = "[[group]] number 1: the key 'names' must be an array of names: invalid type: ";
    assert!(kind.starts_with(expected) && !kind.contains('\n'), "{kind}");
    let kind = says("[optimizer]\nrule = 'lion'\n[[group]]\ntensors = ['a', 1]\n");
    let expected =
        "[[group]] number 1: the key 'tensors' must be an array of globs: invalid type: ";
    assert!(kind.starts_with(expected) && !kind.contains('\n'), "{kind}");
    let glob = says("[optimizer]\nrule = 'lion'\n[[group]]\ntensors = ['a[b']\n");
    assert_eq!(glob, "[[group]] number 1: the glob 'a[b': invalid range pattern (at 1)");
}

#[test]
fn the_loss_scale_has_torchs_defaults() {
    let scale = |text: &str| {
        Config::parse(&format!("[optimizer]\nrule = 'sgd'\n[loss_scale]\n{text}"))
            .unwrap()
            .loss_scale
    };
    let default = DynamicScale::default();
    assert_eq!(scale(""), Some(LossScale::Dynamic(default)));
    assert_eq!(scale("init = 8\ninterval = 0"), Some(LossScale::Fixed(8.0)));
    // The default for the smallest scale is no reason to refuse a smaller first one.
    let small = DynamicScale { init_scale: 0.5, min_scale: 0.5, ..default };
    assert_eq!(scale("init = 0.5"), Some(LossScale::Dynamic(small)));
    let all = "init = 3e4\ngrowth = 1.7\nbackoff = 0.3\ninterval = 3\nmin = 2";
    let rule = DynamicScale {
        init_scale: 3e4,
        growth_factor: 1.7,
        backoff_factor: 0.3,
        growth_interval: 3,
        min_scale: 2.0,
    };
    assert_eq!(scale(all), Some(LossScale::Dynamic(rule)));
    let none = Config::parse("[optimizer]\nrule = 'sgd'\n[clip]\n").unwrap();
    assert!(none.loss_scale.is_none() && !none.measures());
}

#[test]
fn a_master_is_for_parameters_of_16_bits() {
    let kept = |text: &str| {
        let config = Config::parse(&format!("[optimizer]\nrule = 'sgd'\n{text}")).unwrap();
        let specs = Dtype::ALL.iter().map(|d| TensorSpec::new("w", []).dtype(*d));
        let assigned = config.assign(specs).unwrap();
        assigned.specs.iter().map(|spec| spec.precision).collect::<Vec<_>>()
    };
    let all = |precision| vec![Precision::Nearest, precision, precision];
    assert_eq!(kept(""), all(Precision::Nearest));
    assert_eq!(kept("master = 'none'\nstochastic_rounding = false\nseed = 3"), kept(""));
    assert_eq!(kept("master = 'f32'"), all(Precision::Master));
    assert_eq!(kept("master = 'remainder'"), all(Precision::Remainder));
    assert_eq!(kept("master = 'remainder8'"), all(Precision::Remainder8));
    assert_eq!(kept("stochastic_rounding = true"), all(Precision::Stochastic));
}

#[test]
fn a_group_keeps_its_parameters_in_its_own_way() {
    let kept = |base: &str, own: &str| {
        let text = format!("[optimizer]\nrule = 'sgd'\n{base}\n[[group]]\nnames = ['a']\n{own}");
        let config = Config::parse(&text).unwrap();
        let tensors = ["a", "b"].map(|name| TensorSpec::new(name, []).dtype(Dtype::Bf16));
        let specs = config.assign(tensors.into_iter()).unwrap().specs;
        (specs[0].precision, specs[1].precision)
    };
    let (nearest, stochastic, master) =
        (Precision::Nearest, Precision::Stochastic, Precision::Master);
    assert_eq!(kept("", "master = 'f32'"), (master, nearest));
    assert_eq!(kept("master = 'f32'", ""), (master, master));
    assert_eq!(kept("master = 'f32'", "master = 'none'"), (nearest, master));
    assert_eq!(kept("master = 'f32'", "stochastic_rounding = true"), (stochastic, master));
    assert_eq!(kept("stochastic_rounding = true", "master = 'f32'"), (master, stochastic));
    let nearer = kept("stochastic_rounding = true", "stochastic_rounding = false");
    assert_eq!(nearer, (nearest, stochastic));
}

#[test]
fn a_limit_to_the_norm_is_the_groups_own() {
    let text = "[optimizer]\nrule = 'sgd'\n[[group]]\ntensors = ['a']\nclip_norm = 2\n\
                [[group]]\ntensors = ['b']\n[[group]]\ntensors = ['c']\nclip_norm = false\n";
    let config = Config::parse(text).unwrap();
    let limits: Vec<_> = config.groups.iter().map(|own| own.group.max_norm).collect();
    assert_eq!(limits, [None, Some(2.0), None, Some(f64::INFINITY)]);
    assert!(config.measures());
}

#[test]
fn groups_inherit_the_format_of_the_state() {
    let kept = |text: &str| {
        let groups = "[[group]]\ntensors = ['a']\nstate = 'f32'\n[[group]]\ntensors = ['b']\n\
                      rule = 'lion'\nmin_state_elems = 0\n";
        let text = format!("[optimizer]\nrule = 'adamw'\n{text}\n{groups}");
        let config = Config::parse(&text).unwrap();
        config
            .groups
            .iter()
            .map(|own| (own.group.state, own.group.min_state_elems))
            .collect::<Vec<_>>()
    };
    let (f32, int8) = (StateFormat::F32, StateFormat::Int8);
    let default = Group::new("", AdamW::new()).min_state_elems;
    assert_eq!(kept(""), [(f32, default), (f32, default), (f32, 0)]);
    assert_eq!(kept("state = 'int8'"), [(int8, default), (f32, default), (int8, 0)]);
    assert_eq!(kept("state = 'int8'\nmin_state_elems = 9"), [(int8, 9), (f32, 9), (int8, 0)]);
}

#[test]
fn groups_inherit_what_comes_after_the_rule() {
    let after = |text: &str| {
        let groups = "[[group]]\ntensors = ['a']\nrule = 'lion'\nlookahead_alpha = 0.25\n\
                      [[group]]\ntensors = ['b']\nema_decay = 0.5\n";
        let text = format!("[optimizer]\nrule = 'adamw'\n{text}\n{groups}");
        let config = Config::parse(&text).unwrap();
        let of = |group: &Group| {
            (group.lookahead.map(|lookahead| (lookahead.k, lookahead.alpha)), group.ema_decay)
        };
        config.groups.iter().map(|own| of(&own.group)).collect::<Vec<_>>()
    };
    let quarter = Some((5, 0.25));
    assert_eq!(after(""), [(None, None), (quarter, None), (None, Some(0.5))]);
    assert_eq!(
        after("lookahead_k = 3\nema_decay = 0.9"),
        [(Some((3, 0.5)), Some(0.9)), (Some((3, 0.25)), Some(0.9)), (Some((3, 0.5)), Some(0.5))]
    );
}

#[test]
fn groups_switch_off_what_they_would_inherit() {
    let text = "[optimizer]\nrule = 'adamw'\ncaution = true\ncautious_decay = true\nupdate_clipping = 0.5\n\
                lookahead_k = 3\nema_decay = 0.9\nema_warmup = true\n\
                [[group]]\ntensors = ['a']\n\
                [[group]]\ntensors = ['b']\ncaution = false\ncautious_decay = false\nupdate_clipping = false\n\
                lookahead_k = false\nema_decay = false\n\
                [[group]]\ntensors = ['c']\nlookahead_alpha = false\nswa_every = 4\n\
                [[group]]\ntensors = ['d']\nrule = 'sgd'\ncautious_decay = false\nema_warmup = false\n";
    let config = Config::parse(text).unwrap();
    let around = |number: usize| Around::in_group(&config.groups[number].group).in_words();
    let whole = "caution, cautious decay, directions of an RMS of at most 0.5, \
                 lookahead with k 3 and alpha 0.5, an average of decay 0.9";
    let [first, caution] =
        [whole, "caution, cautious decay, directions of an RMS of at most 0.5, "];
    assert_eq!(around(0), Some(format!("{first} with warm-up")));
    assert_eq!(around(1), around(0));
    assert_eq!(around(2), None);
    assert_eq!(around(3), Some(format!("{caution}an equal average from step 1 on, every 4 steps")));
    assert_eq!(around(4), Some(whole.replace("cautious decay, ", "")));

    // An average of the other kind takes the place of the base's.
    let text = "[optimizer]\nrule = 'sgd'\nswa_start = 5\n\
                [[group]]\ntensors = ['a']\nema_decay = 0.5\n\
                [[group]]\ntensors = ['b']\nswa_start = false\n";
    let config = Config::parse(text).unwrap();
    let around = |number: usize| Around::in_group(&config.groups[number].group).in_words();
    assert_eq!(around(1).unwrap(), "an average of decay 0.5");
    assert_eq!(around(2), None);
}

#[test]
fn every_format_of_the_state_has_its_name() {
    let text = |state: &str| format!("[optimizer]\nrule = 'sgd'\nstate = '{state}'\n");
    let unknown = says(&text("int9"));
    assert!(unknown.starts_with("[optimizer]: a state format must be \"f32\", "), "{unknown}");
    assert!(unknown.ends_with(", found \"int9\": in `state`"), "{unknown}");
    for state in StateFormat::ALL {
        let config = Config::parse(&text(&state.to_string())).unwrap();
        assert_eq!(config.groups[0].group.state, *state);
        assert!(unknown.contains(&format!("\"{state}\"")), "{unknown}");
    }
}

#[test]
fn what_is_wrong_with_mixed_precision_is_named() {
    let cases = [
        (
            "master = 'f64'",
            "[optimizer]: a master must be \"none\", \"f32\", \"remainder\" or \"remainder8\", found \"f64\": in `master`",
        ),
        ("master = 1", "[optimizer]: invalid type: integer `1`, expected a string: in `master`"),
        (
            "master = 'remainder'\nstochastic_rounding = true",
            "[optimizer]: stochastic_rounding needs master = \"none\": a master loses nothing",
        ),
        ("state = 8", "[optimizer]: invalid type: integer `8`, expected a string: in `state`"),
        (
            "min_state_elems = -1",
            "[optimizer]: invalid value: integer `-1`, expected u64: in `min_state_elems`",
        ),
        (
            "min_state_elems = 1.5",
            "[optimizer]: invalid type: floating point `1.5`, expected u64: in `min_state_elems`",
        ),
        (
            "[[group]]\ntensors = ['a']\nmin_state_elems = '4k'",
            "[[group]] number 1: invalid type: string \"4k\", expected u64: in `min_state_elems`",
        ),
        ("caution = 1", "[optimizer]: invalid type: integer `1`, expected a boolean: in `caution`"),
        ("swa_every = 0", "[optimizer]: swa_every must be >= 1, found 0"),
        (
            "ema_decay = true",
            "[optimizer]: invalid type: boolean `true`, expected f64: in `ema_decay`",
        ),
        ("lookahead_k = 0", "[optimizer]: lookahead_k must be >= 1, found 0"),
        (
            "lookahead_k = 2.5",
            "[optimizer]: invalid type: floating point `2.5`, expected u32: in `l",
        ),
        (
            "[[group]]\ntensors = ['a']\nlookahead_alpha = 1.5",
            "[[group]] number 1: lookahead_alpha must be in [0, 1], found 1.5",
        ),
        ("ema_decay = nan", "[optimizer]: ema_decay must be in [0, 1], found NaN"),
        (
            "ema_decay = '0.9'",
            "[optimizer]: invalid type: string \"0.9\", expected f64: in `ema_decay`",
        ),
        ("seed = -1", "[optimizer]: invalid value: integer `-1`, expected u32: in `seed`"),
        ("seed = 4294967296", "[optimizer]: invalid value: integer `4294967296`, expected u32"),
        (
            "stochastic_rounding = 1",
            "[optimizer]: invalid type: integer `1`, expected a boolean: in",
        ),
        ("clip_norm = 1.0", "[optimizer]: rule 'sgd': unknown field `clip_norm`"),
        ("[clip]\nnorm = 'x'", "[clip]: invalid type: string \"x\", expected f64: in `norm`"),
        ("[clip]\nmax = 1", "[clip]: unknown field `max`, expected `norm` or `value`"),
        ("[clip]\nnorm = nan", "[clip]: norm must be > 0, found NaN"),
        ("[clip]\nnorm = 1e-60", "[clip]: norm must be > 0, found 0.000"),
        ("[clip]\nvalue = inf", "[clip]: value must be finite and > 0, found inf"),
        (
            "[loss_scale]\nscale = 1",
            "[loss_scale]: unknown field `scale`, expected one of `init`, ",
        ),
        ("[loss_scale]\ninit = 0", "[loss_scale]: init must be 2^-126 to 2^126, found 0"),
        ("[loss_scale]\nbackoff = 2", "[loss_scale]: backoff must be > 0 and <= 1, found 2"),
        ("[loss_scale]\ninterval = 1.5", "[loss_scale]: invalid type: floating point `1.5`, "),
        ("[loss_scale]\ninterval = -1", "[loss_scale]: invalid value: integer `-1`, expected u32"),
        (
            "[loss_scale]\ninit = 4\nmin = 5",
            "[loss_scale]: min must be >= 2^-126 and <= init, found",
        ),
        (
            "[loss_scale]\ninterval = 0\ngrowth = 2",
            "[loss_scale]: growth is for a scale that changes; interval = 0 fixes it",
        ),
        (
            "[[group]]\ntensors = ['a']\nclip_norm = true",
            "[[group]] number 1: invalid type: boolean `true`, expected f64: in `clip_norm`",
        ),
        (
            "master = 'f32'\n[[group]]\ntensors = ['a']\nstochastic_rounding = true\nmaster = 'f32'",
            "[[group]] number 1: stochastic_rounding needs master = \"none\": a master loses nothing",
        ),
        (
            "[[group]]\ntensors = ['a']\nseed = 1",
            "[[group]] number 1: rule 'sgd': unknown field `seed`",
        ),
        (
            "no_decay = 1",
            "[optimizer]: the key 'no_decay' must be an array of globs, or true: inva",
        ),
        ("no_decay = ['[a']", "[optimizer]: no_decay: the glob '[a': invalid range pattern (at 0)"),
        ("layer_decay = 0.5", "[optimizer]: layer_decay needs layers, globs from the input to the"),
        ("layers = ['a']", "[optimizer]: layers are for layer_decay, which is missing"),
        (
            "layer_decay = 0.0\nlayers = ['a']",
            "[optimizer]: layer_decay must be finite and > 0, found 0",
        ),
        (
            "layer_decay = 0.5\nlayers = ['a#b#']",
            "[optimizer]: layers: the glob 'a#b#': there is more than one '#'",
        ),
        ("first_match_wins = 1", "[optimizer]: invalid type: integer `1`, expected a boolean: in "),
        ("frozen = 3", "[optimizer]: invalid type: integer `3`, expected a map: in `frozen`"),
        ("frozen = { from_step = 0 }", "[optimizer]: frozen: from_step must be >= 1, found 0"),
        (
            "frozen = { from_step = 3, to_step = 2 }",
            "[optimizer]: frozen: to_step must be >= from_step, which is 3, found 2",
        ),
        (
            "[[group]]\nmax_dims = 1\nfrozen = { until = 2 }",
            "[[group]] number 1: frozen: unknown field `until`, expected `from_step` or `to_step`",
        ),
        (
            "[[group]]\nmax_dims = -1",
            "[[group]] number 1: invalid value: integer `-1`, expected usize: in `max_dims`",
        ),
        (
            "[[group]]\nmax_dims = 1\nlayer_decay = 0.5",
            "[[group]] number 1: rule 'sgd': unknown field `layer_decay`",
        ),
    ];
    for (text, expected) in cases {
        let found = says(&format!("[optimizer]\nrule = 'sgd'\n{text}\n"));
        assert!(found.starts_with(expected) && !found.contains('\n'), "{text}: {found}");
    }
}
