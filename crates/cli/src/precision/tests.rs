use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    precision: PrecisionArgs,
}

fn numerics(line: &str) -> Numerics {
    let arguments = ["command"].into_iter().chain(line.split_whitespace());
    let command = Command::try_parse_from(arguments).expect("known options");
    command.precision.numerics().expect("options that go together")
}

#[test]
fn options_are_as_they_are_spelled() {
    assert_eq!(numerics(""), Numerics::default());
    assert_eq!(numerics("").to_string(), "parameters f32, gradients f32");
    let all =
        numerics("--param bf16 --master remainder --state bf16 --loss-scale dynamic --clip 1.5");
    let text = "parameters bf16 with a 16-bit remainder, gradients bf16, state bf16, \
                loss scale dynamic, clipped to norm 1.5";
    assert_eq!(all.to_string(), text);
    let json = serde_json::to_value(all).expect("text and switches");
    let expected = serde_json::json!({
        "param": "bf16", "grad": "bf16", "master": "remainder", "stochastic_rounding": false,
        "state": "bf16",
        "loss_scale": "dynamic", "clip": "1.5",
    });
    assert_eq!(json, expected);
    let more = numerics("--param f16 --grad f32 --stochastic-rounding --loss-scale 2 --clip inf");
    let text = "parameters f16 with stochastic rounding, gradients f32, loss scale 2, \
                norm measured";
    assert_eq!(more.to_string(), text);
}

#[test]
fn numbers_have_a_range() {
    assert_eq!(loss_scale("dynamic:0.5"), Ok(LossScale::Dynamic { init_scale: 0.5 }));
    assert_eq!(LossScale::Dynamic { init_scale: 0.5 }.to_string(), "dynamic:0.5");
    assert_eq!(loss_scale("1024"), Ok(LossScale::Fixed(1024.0)));
    assert_eq!(LossScale::Fixed(1e36).to_string(), "1e36");
    for bad in ["", "0", "-1", "nan", "inf", "1e39", "1e-39", "dynamic:", "dynamic:0", "Dynamic"] {
        assert!(loss_scale(bad).is_err(), "{bad}");
    }
    assert_eq!(clip("inf"), Ok(f64::INFINITY));
    for bad in ["", "0", "-1", "nan", "-inf", "1e39", "1e-39", "none"] {
        assert!(clip(bad).is_err(), "{bad}");
    }
}
