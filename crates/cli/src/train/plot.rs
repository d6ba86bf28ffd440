//! The picture: the loss of every step, and what the tests say, in a colour for each rule.

use std::{f64::consts::LN_2, ops::RangeInclusive};

use plotters::prelude::*;

use super::{
    models::{At, Goal, Model},
    run::{Point, Run, Settings},
};
use crate::{
    device::AdapterReport,
    picture::{self, Area, Axis, FAINT, GRID, INK, ROW, Stroke, font, thinned, ticks},
    precision::Numerics,
};

/// Of both panels together.
const WIDTH: u32 = 1000;
const HEIGHT: u32 = 420;
const FOOTER: u32 = 36;
/// Of a legend beside the panels: more lines than `MAX_INSIDE` would lie under one within.
const LEGEND: u32 = 220;
const MAX_INSIDE: usize = 4;

/// The picture as SVG.
pub(super) fn svg(
    runs: &[Run],
    adapter: &AdapterReport,
    model: &dyn Model,
    settings: &Settings,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let beside = runs.len() > MAX_INSIDE;
    let rows = u32::try_from(runs.len())? * u32::try_from(ROW)? + 40;
    let height = if beside { HEIGHT.max(rows + FOOTER) } else { HEIGHT };
    let width = if beside { WIDTH + LEGEND } else { WIDTH };
    let root = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (panels, footer) = root.split_vertically(height - FOOTER);
    let (plots, legend) = panels.split_horizontally(WIDTH);
    let figures = match model.goal() {
        Goal::Accuracy => vec![loss(runs, model), accuracy(runs)],
        Goal::Bits => vec![bits(runs, model)],
    };
    let end = model.at(model.plan().steps);
    let areas = plots.split_evenly((1, figures.len()));
    for (area, panel) in areas.iter().zip(&figures) {
        draw(area, end, panel, !beside)?;
    }
    if beside {
        // As the lines of the panel beside it end, from the highest to the lowest.
        let mut lines: Vec<&Line> = figures[figures.len() - 1].lines.iter().collect();
        lines.sort_by(|a, b| b.end.total_cmp(&a.end));
        draw_keys(&legend, (0, 34), &lines)?;
    }
    let note = format!(
        "{}, seed {}, on {}, {}",
        model.caption(),
        settings.seed,
        adapter.name,
        adapter.backend,
    );
    let style = picture::note();
    let center = i32::try_from(width / 2)?;
    let numerics =
        (settings.numerics != Numerics::default()).then(|| settings.numerics.to_string());
    let more: Vec<String> = numerics.into_iter().chain(settings.around.in_words()).collect();
    footer.draw_text(&note, &style, (center, if more.is_empty() { 8 } else { 2 }))?;
    if !more.is_empty() {
        footer.draw_text(&more.join(", "), &style, (center, 18))?;
    }
    root.present()?;
    // The backends borrow the text.
    drop((root, panels, footer, plots, legend, areas));
    Ok(text)
}

/// A chart.
struct Panel {
    title: &'static str,
    lines: Vec<Line>,
    /// Where the y axis has its marks; it reaches from the first to the last.
    ticks: Vec<f64>,
    tick_label: fn(&f64) -> String,
    legend: Corner,
    /// Whether lines join the points. Of a single run they would hide the steps.
    joins: bool,
}

/// Where no line goes.
#[derive(Clone, Copy)]
enum Corner {
    UpperRight,
    LowerRight,
}

struct Line {
    name: String,
    stroke: Stroke,
    /// What it ends with, wherever the axis does.
    end: f64,
    /// Through the points of the curve.
    points: Vec<(f64, f64)>,
    /// Those of them that are tests.
    tests: Vec<(f64, f64)>,
    /// Through single steps: thin, behind all lines.
    steps: Vec<(f64, f64)>,
}

impl Line {
    fn new(name: String, run: &Run, y: impl Fn(&Point) -> f64) -> Self {
        let points = run.curve.iter().map(|point| (f64::from(point.at.count()), y(point)));
        Self {
            name,
            stroke: Stroke::nth(run.rule.index()),
            end: y(&run.last()),
            points: points.filter(|(_, y)| y.is_finite()).collect(),
            tests: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// With a mark for each test that lies within.
    fn with_tests(self, within: RangeInclusive<f64>) -> Self {
        let tests = self.points.iter().filter(|(_, y)| within.contains(y)).copied().collect();
        Self { tests, ..self }
    }

    /// With the loss of every step behind it.
    fn with_steps(self, run: &Run, model: &dyn Model, y: impl Fn(f64) -> f64) -> Self {
        let plan = model.plan();
        let unit = f64::from(plan.steps) / f64::from(model.at(plan.steps).count());
        let steps =
            (1u32..).zip(&run.losses).map(|(step, loss)| (f64::from(step) / unit, y(*loss)));
        Self { steps: steps.filter(|(_, y)| y.is_finite()).collect(), ..self }
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        self.points.iter().chain(&self.steps).map(|(_, y)| *y)
    }
}

/// The loss by its decimal logarithm, with a mark at each power of ten.
fn loss(runs: &[Run], model: &dyn Model) -> Panel {
    let line = |run: &Run| {
        let line = Line::new(run.rule.to_string(), run, |point| point.train_loss.log10());
        line.with_steps(run, model, f64::log10)
    };
    let mut lines: Vec<Line> = runs.iter().map(line).collect();
    // The axis goes by the means: from 0.1 to 1 at least, so that there is one whatever the losses are.
    let means = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let lowest = means().fold(-1.0, f64::min).floor();
    let highest = means().fold(0.0, f64::max).ceil();
    lines.iter_mut().for_each(|line| {
        line.steps.iter_mut().for_each(|(_, y)| *y = y.clamp(lowest, highest));
    });
    let tick_label = |y: &f64| format!("{}", 10f64.powf(*y));
    let (ticks, legend) = (ticks(lowest, highest, 1.0), Corner::UpperRight);
    Panel { title: "training loss", lines, ticks, tick_label, legend, joins: true }
}

fn accuracy(runs: &[Run]) -> Panel {
    let percent = |point: &Point| 100.0 * point.test_accuracy;
    // The end is what matters: what lies far below all ends is cut off.
    let worst = runs.iter().map(|run| percent(&run.last())).fold(100.0, f64::min);
    let lowest = if worst > 95.0 { 90.0 } else { (worst / 10.0 - 1.0).floor().max(0.0) * 10.0 };
    let line = |run: &Run| {
        let line = Line::new(format!("{}: {:.1} %", run.rule, percent(&run.last())), run, percent);
        let line = line.with_tests(lowest..=100.0);
        Line { points: above(lowest, &line.points), ..line }
    };
    let lines = runs.iter().map(line).collect();
    let ticks = ticks(lowest, 100.0, if lowest == 90.0 { 2.0 } else { 10.0 });
    let (tick_label, legend) = (|y: &f64| format!("{y}"), Corner::LowerRight);
    Panel { title: "test accuracy in %", lines, ticks, tick_label, legend, joins: true }
}

/// The losses of all steps, and of the tests.
fn bits(runs: &[Run], model: &dyn Model) -> Panel {
    let line = |run: &Run| {
        let name = format!("{}: {}", run.rule, Goal::Bits.in_words(run.score()));
        let line = Line::new(name, run, |point| point.test_loss / LN_2);
        line.with_steps(run, model, |loss| loss / LN_2)
    };
    let lines: Vec<Line> = runs.iter().map(line).collect();
    let all = || lines.iter().flat_map(Line::all);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    // There is an axis whatever the losses are, and what diverges leaves the picture.
    let low = if low.is_finite() { low } else { 2.0 };
    let high = high.clamp(low + 0.5, low + 8.0);
    let step = if high - low > 5.0 { 1.0 } else { 0.5 };
    let (lowest, highest) = ((low / step).floor() * step, (high / step).ceil() * step);
    let within = |(_, y): &(f64, f64)| *y <= highest;
    let clipped = |mut line: Line| {
        line.points.retain(within);
        line.steps.retain(within);
        line.with_tests(lowest..=highest)
    };
    Panel {
        title: "loss in bits per character: each training step (thin line), tests (points)",
        lines: lines.into_iter().map(clipped).collect(),
        ticks: ticks(lowest, highest, step),
        tick_label: |y| format!("{y}"),
        legend: Corner::UpperRight,
        joins: runs.len() > 1,
    }
}

/// The line from where it rises above `lowest` for the last time.
fn above(lowest: f64, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let Some(below) = points.iter().rposition(|(_, y)| *y < lowest) else {
        return points.to_vec();
    };
    let Some(&(x1, y1)) = points.get(below + 1) else {
        return Vec::new();
    };
    let (x0, y0) = points[below];
    let crossing = (x0 + (x1 - x0) * (lowest - y0) / (y1 - y0), lowest);
    [crossing].into_iter().chain(points[below + 1..].iter().copied()).collect()
}

fn draw(area: &Area<'_>, end: At, panel: &Panel, has_legend: bool) -> anyhow::Result<()> {
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, font(17, INK))
        .margin_top(14)
        .margin_left(14)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(Axis::counts(end.count()), Axis::between(&panel.ticks))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(14, INK))
        .x_desc(end.unit())
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&panel.tick_label)
        .draw()?;
    let plot = chart.plotting_area();
    // Before the lines, so that it hides none of them.
    if has_legend {
        draw_legend(&plot.strip_coord_spec(), panel)?;
    }
    // Pale, so that the lines before them stand out.
    let opacity = if panel.joins { 0.3 } else { 1.0 };
    for Line { stroke, steps, .. } in panel.lines.iter().filter(|line| !line.steps.is_empty()) {
        stroke.draw_thin(plot, thinned(steps.clone()), opacity)?;
    }
    for Line { stroke, points, tests, .. } in &panel.lines {
        if panel.joins {
            stroke.draw(plot, points.clone())?;
        }
        // A line through one point would be invisible.
        let marks = if points.len() == 1 { points } else { tests };
        for mark in marks {
            if !panel.joins {
                // Else they would be lost in the line.
                plot.draw(&Circle::new(*mark, 6, WHITE.filled()))?;
            }
            let radius = if panel.joins { 3 } else { 4 };
            plot.draw(&Circle::new(*mark, radius, stroke.color.filled()))?;
        }
    }
    Ok(())
}

/// One row for each line, on a white ground that the grid ends at.
fn draw_legend(area: &Area<'_>, panel: &Panel) -> anyhow::Result<()> {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (i32::try_from(width)?, i32::try_from(height)?);
    let rows = i32::try_from(panel.lines.len())?;
    let longest = panel.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    // The font is the viewer's: 8 pixels are wide for a letter of 14.
    let left = width - 50 - 8 * i32::try_from(longest)?;
    let top = match panel.legend {
        Corner::UpperRight => 8,
        Corner::LowerRight => height - rows * ROW - 10,
    };
    area.draw(&Rectangle::new([(left, top), (width + 1, top + rows * ROW)], WHITE.filled()))?;
    draw_keys(area, (left, top), &panel.lines.iter().collect::<Vec<_>>())
}

fn draw_keys(area: &Area<'_>, corner: (i32, i32), lines: &[&Line]) -> anyhow::Result<()> {
    picture::draw_legend(area, corner, lines.iter().map(|line| (line.name.as_str(), line.stroke)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rule::RuleName, train::models::Perceptron};

    fn picture(losses: [f64; 3], accuracy: f64) -> String {
        pictures(&["sgd"], losses, accuracy)
    }

    fn runs(rules: &[&str], losses: [f64; 3], accuracy: f64) -> Vec<Run> {
        let curve = (1..).zip(losses).map(|(epoch, train_loss)| Point {
            at: At::Epoch(epoch),
            train_loss,
            test_loss: 0.5,
            test_accuracy: accuracy,
            measured: Default::default(),
        });
        let curve: Vec<Point> = curve.collect();
        let run = |name: &&str| {
            let (rule, curve) = (RuleName::known(name).unwrap(), curve.clone());
            Run {
                rule,
                lr: 0.1,
                seconds: 1.0,
                rows: 9,
                curve,
                losses: vec![0.5; 3],
                stopped: None,
                average: None,
                sample: None,
            }
        };
        rules.iter().map(run).collect()
    }

    fn model() -> Perceptron {
        Perceptron::new(3, "32", 128).expect("a model")
    }

    fn pictures(rules: &[&str], losses: [f64; 3], accuracy: f64) -> String {
        let adapter =
            AdapterReport { name: "a < b".into(), backend: "vulkan".into(), driver: "c".into() };
        let runs = runs(rules, losses, accuracy);
        svg(&runs, &adapter, &model(), &Settings::default()).expect("drawing into a string")
    }

    #[test]
    fn draws_a_line_in_each_panel() {
        let text = picture([1.0, 0.1, 0.01], 0.98);
        // The lines of the curves and their keys in the legends, the one of the steps, and the tests.
        assert_eq!(text.matches("stroke=\"#009E73\"").count(), 4 + 1);
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(text.contains("sgd: 98.0 %"));
        assert!(text.contains("a &lt; b"));
    }

    #[test]
    fn many_rules_have_their_legend_beside() {
        let text = pictures(fallline::RULE_NAMES, [1.0, 0.1, 0.01], 0.98);
        for rule in fallline::RULE_NAMES {
            let key = format!("{rule}: 98.0 %");
            assert_eq!(text.lines().filter(|line| line.trim() == key).count(), 1, "{rule}");
        }
    }

    #[test]
    fn draws_a_run_that_diverged() {
        let text = picture([1e30, f64::NAN, f64::INFINITY], 0.1);
        assert!(text.contains("training loss") && !text.contains("NaN"));
    }

    #[test]
    fn bits_have_an_axis_whatever_the_losses_are() {
        let ends = |losses: Vec<f64>, test_loss: f64| {
            let mut runs = runs(&["sgd"], [1.0; 3], 0.5);
            runs[0].losses = losses;
            runs[0].curve.iter_mut().for_each(|point| point.test_loss = test_loss);
            let panel = bits(&runs, &model());
            assert!(!panel.joins);
            let line = &panel.lines[0];
            (panel.ticks[0], panel.ticks[panel.ticks.len() - 1], line.steps.len(), line.tests.len())
        };
        assert_eq!(ends(vec![6.1 * LN_2, 3.2 * LN_2], 3.3 * LN_2), (3.0, 6.5, 2, 3));
        assert_eq!(ends(vec![6.1 * LN_2, 0.2 * LN_2], f64::NAN), (0.0, 7.0, 2, 0));
        assert_eq!(ends(vec![6.1 * LN_2, 1e30, f64::NAN], 1e30), (6.0, 15.0, 1, 0));
        assert_eq!(ends(vec![f64::NAN], f64::INFINITY), (2.0, 2.5, 0, 0));
    }

    #[test]
    fn lines_begin_where_the_axis_does() {
        let points = [(1.0, 80.0), (2.0, 100.0), (3.0, 98.0)];
        assert_eq!(above(90.0, &points), [(1.5, 90.0), (2.0, 100.0), (3.0, 98.0)]);
        assert_eq!(above(70.0, &points), points);
        assert!(above(90.0, &[(1.0, 80.0)]).is_empty());
    }
}
