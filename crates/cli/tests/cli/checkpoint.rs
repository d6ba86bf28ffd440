//! Checkpoints, as a user meets them.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::common::{fallline, golden, read, replay, scratch, write};

/// The first half of a golden trace, without what comes of it.
fn half(case: &str, steps: u32) -> PathBuf {
    let (mut tensors, _) = read(&golden(&format!("{case}.safetensors")));
    tensors.retain(|tensor| match tensor.name.split('/').collect::<Vec<_>>()[..] {
        ["grad" | "lr", step, ..] => step.parse::<u32>().expect("a step") <= steps,
        [what, ..] => !what.starts_with("expect"),
        [] => false,
    });
    write(&format!("{case}.half.safetensors"), &tensors, Default::default())
}

#[test]
fn a_replay_goes_on_from_a_checkpoint_to_the_bit() {
    // One with a loss scale, whose reports go on, and steps that are skipped.
    for (case, steps) in [("adamw_amsgrad", 20), ("amp_clip", 15)] {
        let (trace, config) =
            (golden(&format!("{case}.safetensors")), golden(&format!("{case}.toml")));
        let [whole, rest, saved] =
            ["whole", "rest", "saved"].map(|name| scratch(&format!("{case}.{name}.safetensors")));
        let [whole_arg, rest_arg, saved_arg] = [&whole, &rest, &saved].map(|p| p.to_str().unwrap());
        replay(&trace, &config, &["--out", whole_arg]).good();
        replay(&half(case, steps), &config, &["--save", saved_arg]).good();
        replay(&trace, &config, &["--resume", saved_arg, "--out", rest_arg]).good();
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&rest).unwrap(), "{case}");

        // Behind the last step of the half there is nothing of it left to replay.
        replay(&half(case, steps - 1), &config, &["--resume", saved_arg])
            .says(&format!("is of step {steps}, but the trace ends with step {}", steps - 1));
    }
    let other = golden("adam_amsgrad.toml");
    let saved = scratch("adamw_amsgrad.saved.safetensors");
    replay(&golden("adamw_amsgrad.safetensors"), &other, &["--resume", saved.to_str().unwrap()])
        .says(
            "adamw_amsgrad.saved.safetensors: rule of tensor 'bias' must be adam amsgrad, but was",
        );
}

/// `tools/check_checkpoints.py --write` has made them, each after half of the steps of a golden trace.
#[test]
fn checkpoints_made_of_pytorchs_go_on_as_it_did() {
    let mut cases = 0;
    for entry in fs::read_dir(golden("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(trace) = name.strip_prefix("torch_") else { continue };
        let trace = golden(trace);
        let options = ["--resume", path.to_str().unwrap(), "--atol", "1e-6"];
        let ran = replay(&trace, &trace.with_extension("toml"), &options);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        cases += 1;
    }
    assert_eq!(cases, 15);
}

#[test]
fn info_tells_what_is_in_a_checkpoint() {
    let [saved, json] = ["saved.safetensors", "info.json"].map(scratch);
    let [saved_arg, json_arg] = [&saved, &json].map(|path| path.to_str().unwrap());
    let config = golden("amp_clip.toml");
    replay(&half("amp_clip", 15), &config, &["--save", saved_arg]).good();
    let ran = fallline(&["info", "--checkpoint", saved_arg, "--json", json_arg]).good();
    for part in [
        "  step        15\n",
        ", checksums are right\n",
        "  extra       null\n",
        "  loss_scale  ",
        "  group       optimizer: adamw {\"",
        "bias: adamw amsgrad, 12 steps, ",
        "  state/max_exp_avg_sq    f32 [7]\n",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let told: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!((&told["step"], &told["tensors"]["bias"]["steps"]), (&15.into(), &12.into()));
    assert_eq!(told["size_bytes"], fs::metadata(&saved).unwrap().len());
    assert_eq!(told["groups"][0]["options"]["amsgrad"], true);

    let mut bytes = fs::read(&saved).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&saved, &bytes).unwrap();
    let damaged = fallline(&["info", "--checkpoint", saved_arg]);
    damaged.says("saved.safetensors is damaged: the CRC-32 of tensor 'rule/");
    let trace = golden("adamw.safetensors");
    fallline(&["info", "--checkpoint", trace.to_str().unwrap()])
        .says("is a safetensors file, but no checkpoint of fallline");
    fallline(&["info", "--checkpoint", saved_arg, "--json", saved_arg]).refuses("input and output");
}
