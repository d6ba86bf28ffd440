use clap::Parser;
use fallline::AdamW;
use serde_json::json;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    around: Around,
}

fn parse(line: &str) -> Result<Around, clap::Error> {
    let arguments = ["command"].into_iter().chain(line.split_whitespace());
    Command::try_parse_from(arguments).map(|command| command.around)
}

fn group(line: &str) -> Group {
    parse(line).unwrap().of(Group::new("all", AdamW::new()))
}

#[test]
fn of_two_numbers_one_is_enough() {
    let lookahead = |line| group(line).lookahead.map(|l| (l.k, l.alpha));
    assert_eq!(lookahead(""), None);
    assert_eq!(lookahead("--ema-decay 0.9"), None);
    assert_eq!(lookahead("--lookahead-k 7"), Some((7, 0.5)));
    assert_eq!(lookahead("--lookahead-alpha 0.8"), Some((5, 0.8)));
    assert_eq!(lookahead("--lookahead-alpha 1 --lookahead-k 1"), Some((1, 1.0)));
    assert_eq!(group("--ema-decay 0.9").ema_decay, Some(0.9));
    let swa = |line| group(line).swa.map(|swa| (swa.start, swa.every));
    assert_eq!(swa("--caution"), None);
    assert_eq!(swa("--swa-start 9"), Some((9, 1)));
    assert_eq!(swa("--swa-every 3"), Some((1, 3)));
    let none = group("");
    assert!(!none.caution && !none.cautious_decay && !none.ema_warmup);
    let some = group("--caution --cautious-decay --ema-warmup --update-clipping 0.5");
    assert!(some.caution && some.cautious_decay && some.ema_warmup);
    assert_eq!(some.update_clipping, Some(0.5));
}

#[test]
fn it_is_told_in_words_and_as_json() {
    let all = "--lookahead-k 3 --ema-decay 0.99 --ema-warmup --caution --cautious-decay --update-clipping 2";
    let told = parse(all).unwrap().with_defaults();
    assert_eq!(told, Around::in_group(&group(all)));
    let expected = "caution, cautious decay, directions of an RMS of at most 2, \
                    lookahead with k 3 and alpha 0.5, an average of decay 0.99 with warm-up";
    assert_eq!(told.in_words().unwrap(), expected);
    let expected = json!({
        "caution": true, "cautious_decay": true, "update_clipping": 2.0,
        "lookahead_k": 3, "lookahead_alpha": 0.5, "ema_decay": 0.99, "ema_warmup": true,
        "swa_start": null, "swa_every": null,
    });
    assert_eq!(serde_json::to_value(told).unwrap(), expected);
    let swa = |line| parse(line).unwrap().in_words().unwrap();
    assert_eq!(swa("--swa-start 9"), "an equal average from step 9 on");
    assert_eq!(swa("--swa-every 4"), "an equal average from step 1 on, every 4 steps");
    assert_eq!(Around::default().with_defaults().in_words(), None);
}

#[test]
fn averages_are_counted_where_every_step_has_one() {
    let averages = |line| {
        let around = parse(line).unwrap();
        (around.averages(), around.averages_every_step())
    };
    assert_eq!(averages("--lookahead-k 3"), (false, false));
    assert_eq!(averages("--ema-decay 0.5"), (true, true));
    assert_eq!(averages("--swa-start 5"), (true, true));
    assert_eq!(averages("--swa-every 5"), (true, false));
}

#[test]
fn numbers_have_a_range() {
    for line in [
        "--lookahead-k 0",
        "--lookahead-k=-1",
        "--lookahead-k 1.5",
        "--lookahead-alpha 1.1",
        "--lookahead-alpha nan",
        "--ema-decay=-0.1",
        "--ema-decay inf",
        "--swa-start 0",
        "--swa-every 4294967296",
        "--update-clipping 0",
        "--update-clipping inf",
        "--caution false",
    ] {
        parse(line).unwrap_err();
    }
    let says = |text: &str| {
        let around: Around = toml::from_str(text).unwrap();
        around.check().unwrap_err().to_string()
    };
    assert_eq!(says("lookahead_k = 0"), "lookahead_k must be >= 1, found 0");
    assert_eq!(says("swa_every = 0"), "swa_every must be >= 1, found 0");
    assert_eq!(says("lookahead_alpha = 2"), "lookahead_alpha must be in [0, 1], found 2");
    assert_eq!(says("ema_decay = nan"), "ema_decay must be in [0, 1], found NaN");
    assert_eq!(says("update_clipping = -1"), "update_clipping must be finite and > 0, found -1");
}
