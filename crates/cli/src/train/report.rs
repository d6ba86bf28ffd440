//! What a run says: the table on the terminal, CSV and JSON.

use std::fmt::Write as _;

use super::{
    data::TRAIN_LEN,
    run::{Epoch, Run, Settings},
};
use crate::{device::AdapterReport, rule::RuleName};

/// What is about to happen, and the table's header.
pub(super) fn heading(adapter: &AdapterReport, settings: &Settings, images: u32) -> String {
    format!(
        "Perceptron {} on {}, {}: {TRAIN_LEN} images to train with, {} to test with, seed {}\n\n\
         rule   epoch  train loss  test loss  test accuracy",
        settings.shape(),
        adapter.name,
        adapter.backend,
        images - TRAIN_LEN,
        settings.seed,
    )
}

/// A row of the table.
pub(super) fn row(rule: RuleName, point: &Epoch) -> String {
    let Epoch { epoch, train_loss, test_loss, test_accuracy } = *point;
    let (name, percent) = (rule.to_string(), 100.0 * test_accuracy);
    format!("{name:<5}  {epoch:>5}  {train_loss:>10.5}  {test_loss:>9.5}  {percent:>11.2} %")
}

/// A run in one line.
pub(super) fn summary(run: &Run) -> String {
    let Epoch { epoch, test_accuracy, .. } = run.last();
    let (percent, seconds) = (100.0 * test_accuracy, run.seconds);
    let epochs = if epoch == 1 { "epoch" } else { "epochs" };
    format!("{}: {percent:.2} % test accuracy after {epoch} {epochs}, {seconds:.1} s", run.rule)
}

/// One line for each epoch of each run.
pub(super) fn csv(runs: &[Run]) -> String {
    let mut text = String::from("rule,epoch,train_loss,test_loss,test_accuracy\n");
    for run in runs {
        for Epoch { epoch, train_loss, test_loss, test_accuracy } in &run.curve {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{},{epoch},{train_loss},{test_loss},{test_accuracy}", run.rule);
        }
    }
    text
}

/// A run as JSON; accuracies from 0 to 1.
#[derive(Debug, serde::Serialize)]
pub(super) struct RunReport<'a> {
    adapter: &'a AdapterReport,
    rule: String,
    lr: f64,
    epochs: usize,
    seed: u64,
    seconds: f64,
    test_accuracy: f64,
    curve: &'a [Epoch],
}

pub(super) fn json<'a>(
    runs: &'a [Run],
    adapter: &'a AdapterReport,
    seed: u64,
) -> Vec<RunReport<'a>> {
    let report = |run: &'a Run| RunReport {
        adapter,
        rule: run.rule.to_string(),
        lr: run.lr,
        epochs: run.curve.len(),
        seed,
        seconds: run.seconds,
        test_accuracy: run.last().test_accuracy,
        curve: &run.curve,
    };
    runs.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let point = |epoch| Epoch { epoch, train_loss: 0.5, test_loss: 0.25, test_accuracy: 0.975 };
        Run { rule: RuleName::Lion, lr: 1e-3, seconds: 2.0, curve: vec![point(1), point(2)] }
    }

    #[test]
    fn csv_has_a_header_and_a_line_for_each_epoch() {
        let expected = "rule,epoch,train_loss,test_loss,test_accuracy\n\
                        lion,1,0.5,0.25,0.975\nlion,2,0.5,0.25,0.975\n";
        assert_eq!(csv(&[run()]), expected);
    }

    #[test]
    fn a_row_is_as_wide_as_the_header() {
        let adapter = AdapterReport {
            name: "adapter".into(),
            backend: "vulkan".into(),
            driver: "driver".into(),
        };
        let settings = Settings { epochs: 1, seed: 0, batch_size: 32, hidden: 128 };
        let heading = heading(&adapter, &settings, 1797);
        let header = heading.lines().last().expect("a heading has lines");
        assert_eq!(row(RuleName::Adamw, &run().curve[0]).len(), header.len());
        assert_eq!(summary(&run()), "lion: 97.50 % test accuracy after 2 epochs, 2.0 s");
    }
}
