//! What a run says: the table on the terminal, CSV and JSON.

use std::fmt::Write as _;

use super::{
    models::{At, Goal, Model, ModelName},
    run::{Point, Run, Settings},
    schedule::Chosen,
    watch::Measured,
};
use crate::{around::Around, device::AdapterReport, precision::Numerics, rule::RuleName};

/// How much room the names of the rules take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    width: usize,
}

impl Names {
    pub(super) fn of(rules: impl Iterator<Item = RuleName>) -> Self {
        Self { width: rules.map(|rule| rule.as_str().len()).max().unwrap_or(0).max(5) }
    }
}

/// What is about to happen, and the table's header.
pub(super) fn heading(
    Names { width }: Names,
    adapter: &AdapterReport,
    model: &dyn Model,
    settings: &Settings,
) -> String {
    let numerics = &settings.numerics;
    let plain = *numerics == Numerics::default();
    let precision = if plain { String::new() } else { format!("Precision: {numerics}\n") };
    let around = settings.around.in_words().map(|around| format!("Around the rule: {around}\n"));
    let around = around.unwrap_or_default();
    let groups = settings.config.as_ref().map_or("", |configured| configured.in_words());
    let scaled = if numerics.scales() { "  loss scale  skipped" } else { "" };
    let norm = if numerics.clip.is_some() { "       norm" } else { "" };
    format!(
        "{} on {}, {}: {}, seed {}\n\
         {precision}{around}{groups}\n\
         {:<width$}  {:>5}  train loss  test loss  test accuracy{scaled}{norm}",
        model.title(),
        adapter.name,
        adapter.backend,
        model.data(),
        settings.seed,
        "rule",
        model.at(0).unit(),
    )
}

/// A row of the table.
pub(super) fn row(Names { width }: Names, rule: RuleName, point: &Point) -> String {
    let Point { at, train_loss, test_loss, test_accuracy, measured } = *point;
    let (name, percent) = (rule.to_string(), 100.0 * test_accuracy);
    let mut row = format!(
        "{name:<width$}  {:>5}  {train_loss:>10.5}  {test_loss:>9.5}  {percent:>11.2} %",
        at.count()
    );
    // Writing into a string cannot fail.
    if let Some(scale) = measured.loss_scale {
        let _ = match (1.0..1e10).contains(&scale) {
            true => write!(row, "  {scale:>10.0}"),
            false => write!(row, "  {scale:>10.3e}"),
        };
    }
    if let Some(skipped) = measured.skipped {
        let _ = write!(row, "  {skipped:>7}");
    }
    if let Some(norm) = measured.norm {
        let _ = write!(row, "  {norm:>9.5}");
    }
    row
}

/// A run in one line.
pub(super) fn summary(run: &Run, model: &dyn Model) -> String {
    let (at, seconds, goal) = (run.last().at, run.seconds, model.goal());
    let plural = if at.count() == 1 { "" } else { "s" };
    let skipped = match run.skipped() {
        None | Some(0) => String::new(),
        Some(skipped) => format!(", {skipped} of {} steps skipped", run.steps()),
    };
    let rule = run.rule;
    let average = run.average.map(|score| goal.in_words(score));
    let average = average.map(|score| format!(" ({score} with the average)")).unwrap_or_default();
    let speed = match goal {
        Goal::Accuracy => String::new(),
        Goal::Bits => format!(", {:.0} characters/s", run.rows as f64 / seconds),
    };
    format!(
        "{rule}: {} {}{average} after {} {}{plural}, {seconds:.1} s{speed}{skipped}",
        goal.in_words(run.score()),
        goal.name(),
        at.count(),
        at.unit()
    )
}

/// A line for each step of each run, with the loss of its batch. Behind that stands what a round that ends with the step
/// has, and what was measured in it.
pub(super) fn csv(runs: &[Run], model: &dyn Model) -> String {
    let measured = runs.first().map(|run| run.last().measured).unwrap_or_default();
    let epoch = matches!(model.at(0), At::Epoch(_)).then_some("epoch,").unwrap_or_default();
    let names: String = columns(&measured).map(|(name, _)| format!(",{name}")).collect();
    let mut text = format!("rule,step,loss,{epoch}train_loss,test_loss,test_accuracy{names}\n");
    let none = ",".repeat(names.matches(',').count() + if epoch.is_empty() { 3 } else { 4 });
    for run in runs {
        let mut rounds = model.plan().rounds().map(|round| round.end).zip(&run.curve).peekable();
        for (step, loss) in (1..).zip(&run.losses) {
            // Writing into a string cannot fail.
            let _ = write!(text, "{},{step},{loss}", run.rule);
            match rounds.next_if(|(end, _)| *end == step) {
                Some((_, point)) => text.push_str(&round(point)),
                None => text.push_str(&none),
            }
            text.push('\n');
        }
    }
    text
}

/// What a round ends with, behind commas.
fn round(Point { at, train_loss, test_loss, test_accuracy, measured }: &Point) -> String {
    let epoch = match at {
        At::Epoch(epoch) => format!(",{epoch}"),
        At::Step(_) => String::new(),
    };
    let measured: String = columns(measured).map(|(_, value)| format!(",{value}")).collect();
    format!("{epoch},{train_loss},{test_loss},{test_accuracy}{measured}")
}

/// What was measured, always in the same order.
fn columns(measured: &Measured) -> impl Iterator<Item = (&'static str, f64)> {
    let Measured { loss_scale, skipped, norm } = *measured;
    [("loss_scale", loss_scale.map(f64::from)), ("skipped", skipped.map(f64::from)), ("norm", norm)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// A run as JSON; accuracies from 0 to 1.
#[derive(Debug, serde::Serialize)]
pub(super) struct RunReport<'a> {
    adapter: &'a AdapterReport,
    model: ModelName,
    rule: String,
    lr: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<u32>,
    seed: u64,
    seconds: f64,
    test_loss: f64,
    test_accuracy: f64,
    /// Both with the average of the parameters in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    average_test_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_test_accuracy: Option<f64>,
    precision: Numerics,
    around: Around,
    #[serde(flatten)]
    schedule: &'a Chosen,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<serde_json::Value>,
    steps: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u32>,
    curve: &'a [Point],
    /// The mean loss of each step's batch.
    losses: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'a str>,
}

pub(super) fn json<'a>(
    runs: &'a [Run],
    adapter: &'a AdapterReport,
    model: ModelName,
    settings: &'a Settings,
) -> Vec<RunReport<'a>> {
    let report = |run: &'a Run| RunReport {
        adapter,
        model,
        rule: run.rule.to_string(),
        lr: run.lr,
        epochs: match run.last().at {
            At::Epoch(epochs) => Some(epochs),
            At::Step(_) => None,
        },
        seed: settings.seed,
        seconds: run.seconds,
        test_loss: run.score().loss,
        test_accuracy: run.score().accuracy,
        average_test_loss: run.average.map(|score| score.loss),
        average_test_accuracy: run.average.map(|score| score.accuracy),
        precision: settings.numerics,
        around: settings.around,
        schedule: &settings.schedule,
        config: settings.config.as_ref().map(|configured| configured.json()),
        steps: run.steps(),
        skipped: run.skipped(),
        curve: &run.curve,
        losses: &run.losses,
        sample: run.sample.as_deref(),
    };
    runs.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::{
        precision::LossScale,
        train::models::{Perceptron, Score},
    };

    fn model() -> Perceptron {
        Perceptron::new(2, "32", 128).expect("a model")
    }

    fn run() -> Run {
        let point = |epoch| Point {
            at: At::Epoch(epoch),
            train_loss: 0.5,
            test_loss: 0.25,
            test_accuracy: 0.975,
            measured: Measured::default(),
        };
        let curve = vec![point(1), point(2)];
        let rule = RuleName::known("lion").unwrap();
        Run {
            rule,
            lr: 1e-3,
            seconds: 2.0,
            rows: 2874,
            curve,
            losses: vec![0.5; 90],
            stopped: None,
            average: None,
            sample: None,
        }
    }

    /// One that scales its loss and clips.
    fn measured_run() -> Run {
        let mut run = run();
        for point in &mut run.curve {
            let (loss_scale, skipped) = (Some(65536.0), Some(point.at.count() - 1));
            point.measured = Measured { loss_scale, skipped, norm: Some(0.75) };
        }
        run
    }

    #[test]
    fn csv_has_a_header_and_a_line_for_each_step() {
        let lines = |run: Run| csv(&[run], &model()).lines().map(str::to_owned).collect::<Vec<_>>();
        let plain = lines(run());
        assert_eq!(plain.len(), 91);
        assert_eq!(plain[0], "rule,step,loss,epoch,train_loss,test_loss,test_accuracy");
        assert_eq!((plain[1].as_str(), plain[2].as_str()), ("lion,1,0.5,,,,", "lion,2,0.5,,,,"));
        assert_eq!(plain[45], "lion,45,0.5,1,0.5,0.25,0.975");
        assert_eq!(plain[90], "lion,90,0.5,2,0.5,0.25,0.975");
        let measured = lines(measured_run());
        let header =
            "rule,step,loss,epoch,train_loss,test_loss,test_accuracy,loss_scale,skipped,norm";
        assert_eq!(measured[0], header);
        assert_eq!(measured[44], "lion,44,0.5,,,,,,,");
        assert_eq!(measured[90], "lion,90,0.5,2,0.5,0.25,0.975,65536,1,0.75");
        // One that was stopped within its second round.
        let stopped = Run { curve: run().curve[..1].to_vec(), losses: vec![0.5; 50], ..run() };
        assert_eq!(
            lines(stopped)[45..],
            [plain[45..50].to_vec(), vec![plain[49].replace("49", "50")]].concat()
        );
    }

    #[test]
    fn a_row_is_as_wide_as_the_header() {
        let adapter = AdapterReport {
            name: "adapter".into(),
            backend: "vulkan".into(),
            driver: "driver".into(),
        };
        let numerics = Numerics {
            loss_scale: LossScale::Fixed(65536.0),
            clip: Some(f64::INFINITY),
            ..Numerics::default()
        };
        for (numerics, run) in [(Numerics::default(), run()), (numerics, measured_run())] {
            let settings = Settings { numerics, ..Settings::default() };
            for rule in RuleName::value_variants() {
                let names = Names::of([RuleName::ADAMW, *rule].into_iter());
                let heading = heading(names, &adapter, &model(), &settings);
                let header = heading.lines().last().expect("a heading has lines");
                assert_eq!(row(names, *rule, &run.curve[0]).len(), header.len());
            }
        }
        let average = Run { average: Some(Score { loss: 0.5, accuracy: 0.98125 }), ..run() };
        let expected =
            "lion: 97.50 % test accuracy (98.12 % with the average) after 2 epochs, 2.0 s";
        assert_eq!(summary(&average, &model()), expected);
        assert_eq!(summary(&run(), &model()), "lion: 97.50 % test accuracy after 2 epochs, 2.0 s");
        let expected = "lion: 97.50 % test accuracy after 2 epochs, 2.0 s, 1 of 90 steps skipped";
        assert_eq!(summary(&measured_run(), &model()), expected);
    }
}
