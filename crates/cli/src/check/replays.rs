//! Runs that PyTorch recorded, as `fallline replay` replays them.

use anyhow::Result;

use super::subject::{Finding, Measured, Subject, Worst};
use crate::replay::{self, Difference, Tolerance};

/// A recorded run and its config: copies of some of `tests/golden`, which tells where they come from.
pub(super) struct Recorded {
    pub(super) name: &'static str,
    config: &'static str,
    trace: &'static [u8],
}

macro_rules! recorded {
    ($($name:literal)*) => {
        [$(Recorded {
            name: $name,
            config: include_str!(concat!("../../data/replays/", $name, ".toml")),
            trace: include_bytes!(concat!("../../data/replays/", $name, ".safetensors")),
        }),*]
    };
}

pub(super) static RECORDED: [Recorded; 7] = recorded! {
    "groups" "amp_clip" "clip_both" "bf16_plain" "fp16_tiny" "lookahead_ema" "prodigy_coupled"
};

/// Within torch's own tolerances for f32.
pub(super) fn replayed(subject: &Subject, recorded: &Recorded) -> Result<Finding> {
    let tolerance = Tolerance::default();
    let differences = replay::in_memory(&subject.gpu, recorded.config, recorded.trace, tolerance)?;
    Ok(judge(&differences))
}

fn judge(differences: &[Difference]) -> Finding {
    let mut worst = Worst::new("ULP");
    let mut failed = None;
    for difference in differences {
        worst.take(difference.max_ulp.into(), || difference.name.clone());
        if !difference.passed {
            failed.get_or_insert_with(|| difference.name.clone());
        }
    }
    let nothing = || Measured::seen("nothing was compared");
    let measured = worst.measured().unwrap_or_else(nothing);
    match failed {
        None if measured.value.is_some() => Finding::Passed(measured),
        None => Finding::Failed { measured, expected: "something to compare".to_owned() },
        Some(name) => {
            Finding::Failed { measured, expected: format!("{name} within torch's tolerance") }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_tensor_beyond_the_tolerance_fails_the_run() {
        let of = |name: &str, max_ulp, passed| Difference {
            name: name.to_owned(),
            max_ulp,
            passed,
            ..Difference::default()
        };
        let mut differences = vec![of("param/a", 2, true), of("state/exp_avg/a", 30, true)];
        let Finding::Passed(measured) = judge(&differences) else { panic!("it failed") };
        assert_eq!(measured.to_string(), "30 ULP, state/exp_avg/a");
        differences.push(of("param/b", 9, false));
        let Finding::Failed { expected, .. } = judge(&differences) else { panic!("it passed") };
        assert_eq!(expected, "param/b within torch's tolerance");
        assert!(matches!(judge(&[]), Finding::Failed { .. }));
    }

    #[test]
    fn they_are_those_of_the_golden_tests() {
        let golden = crate::repository::path("tests/golden");
        for Recorded { name, config, trace } in &RECORDED {
            let read =
                |extension| fs::read(golden.join(name).with_extension(extension)).expect(name);
            assert!(read("toml") == config.as_bytes() && read("safetensors") == *trace, "{name}");
        }
    }
}
