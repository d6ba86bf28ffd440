//! Names from files, and of files, that would forge a line or command the terminal.

use std::{collections::HashMap, fs};

use safetensors::Dtype;

use crate::common::{
    Ran, Tensor, config, convert, fallline, replay, scratch, trace, trace_in, write,
};

const NAME: &str = "a\nb\u{1b}[31m";
const SAFE: &str = r"a\nb\u{1b}[31m";

/// Everything that was printed is in lines and nothing else.
#[track_caller]
fn is_plain(ran: &Ran) {
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{ran:?}");
    }
}

#[test]
fn tables_and_warnings_of_quantized_tensors_spell_names_out() {
    let tensors = [
        Tensor::new(NAME, Dtype::F32, &[3], &[1.0, f32::NAN, -1.0]),
        Tensor::new("z", Dtype::I32, &[1], &[1.0]),
    ];
    let from = write("control.in", &tensors, HashMap::new());
    let (to, back) = (scratch("control.to"), scratch("control.back"));
    for ran in
        [convert("quantize", &from, &to, &[]).good(), convert("dequantize", &to, &back, &[]).good()]
    {
        is_plain(&ran);
        assert!(ran.out.contains(&format!("\n{SAFE}  [3]")), "{}", ran.out);
        assert!(ran.out.contains(&format!("\n{:1$}  [1]", "z", SAFE.len())), "{}", ran.out);
        assert!(ran.err.starts_with(&format!("fallline: tensor '{SAFE}': ")), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
}

#[test]
fn errors_spell_names_out() {
    let from =
        write("control.neg", &[Tensor::new(NAME, Dtype::F32, &[1], &[-1.0])], HashMap::new());
    let ran = convert("quantize", &from, &scratch("control.never"), &["--unsigned"]);
    is_plain(&ran);
    ran.says(&format!("tensor '{SAFE}': --unsigned needs values >= 0"));

    let sgd = config("control.toml", "[optimizer]\nrule = 'sgd'\nmaster = 'remainder'\n");
    let param = format!("param/{NAME}");
    let odd = trace("control.odd", &[(&param, &[1], 1.0), (&format!("odd/{NAME}"), &[1], 1.0)]);
    let ran = replay(&odd, &sgd, &[]);
    is_plain(&ran);
    ran.says(&format!("tensor 'odd/{SAFE}': the name must be"));
    // In a message of the engine's.
    let half = [(param.as_str(), Dtype::F16, &[1][..], 1.0)];
    let ran = replay(&trace_in("control.half", &half), &sgd, &[]);
    is_plain(&ran);
    ran.refuses(&format!("tensor '{SAFE}': a 16-bit remainder needs"));
}

#[test]
fn messages_about_groups_and_steps_spell_names_out() {
    let [param, grad] = ["param", "grad/20000"].map(|kind| format!("{kind}/{NAME}"));
    let path = trace("control.group", &[(&param, &[1], 1.0)]);
    // In TOML, where a name may be spelled out too.
    let refuses = |groups: &str, expected: &str| {
        let groups = groups.replace("NAME", r"a\nb\u001b[31m");
        let text = format!("[optimizer]\nrule = 'sgd'\n{groups}");
        let ran = replay(&path, &config("control group.toml", &text), &[]);
        is_plain(&ran);
        ran.refuses(&format!("control group.toml: {}", expected.replace("NAME", SAFE)));
    };
    refuses(
        "[[group]]\nnames = ['a', \"NAME\"]\n",
        "no tensor matches the name 'a' of group '[[group]] number 1'",
    );
    refuses(
        "[[group]]\nnames = [\"NAME\", \"NAME.w\"]\n",
        "no tensor matches the name 'NAME.w' of group '[[group]] number 1'",
    );
    refuses(
        "[[group]]\nnames = [\"NAME\"]\n[[group]]\ntensors = ['a*']\n",
        "tensor 'NAME' is selected by group '[[group]] number 1' and by group '[[group]] number 2'",
    );
    refuses("[[group]]\ntensors = [\"[NAME\"]\n", "[[group]] number 1: the glob '[NAME': ");

    let sgd = config("control far.toml", "[optimizer]\nrule = 'sgd'\n");
    let far = trace("control.far", &[(&param, &[1], 1.0), (&grad, &[1], 1.0)]);
    let ran = replay(&far, &sgd, &[]);
    is_plain(&ran);
    ran.says(&format!("tensor 'grad/20000/{SAFE}': steps 1 to 19999 have no gradient"));
}

#[test]
fn a_replay_spells_names_out() {
    let [param, grad, expect] = ["param", "grad/1", "expect"].map(|kind| format!("{kind}/{NAME}"));
    let path = trace(
        "control.safetensors",
        &[(&param, &[1], 1.0), (&grad, &[1], 1.0), (&expect, &[1], 0.5)],
    );
    let sgd = config("control sgd.toml", "[optimizer]\nrule = 'sgd'\nlr = 0.5\n");
    let ran = replay(&path, &sgd, &[]).good();
    is_plain(&ran);
    assert!(ran.out.contains(&format!("\nparam/{SAFE}  ")), "{}", ran.out);
}

#[cfg(unix)]
#[test]
fn paths_are_spelled_out() {
    let name = "no\nsuch\u{1b}[31m file";
    let safe = r"no\nsuch\u{1b}[31m file";
    let missing = scratch(name);
    let ran = convert("quantize", &missing, &scratch("control.never"), &[]);
    is_plain(&ran);
    ran.says(&format!("{safe}: "));
    for option in ["--svg", "--csv", "--json"] {
        let ran = fallline(&["train", option, &format!("/{name}/x")]);
        is_plain(&ran);
        ran.says(&format!("cannot write /{safe}/x: "));
    }
    let svg = scratch(&format!("{name}.svg"));
    let size = ["train", "--epochs", "1", "--hidden", "4", "--svg"];
    let ran = fallline(&[&size[..], &[svg.to_str().unwrap()]].concat()).good();
    is_plain(&ran);
    assert!(ran.out.ends_with(&format!("{safe}.svg\n")), "{}", ran.out);
    fs::remove_file(svg).unwrap();
}
