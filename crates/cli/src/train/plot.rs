//! The picture: training loss and test accuracy, a line for each rule.

use std::f64::consts::LN_2;

use plotters::prelude::*;

use super::{
    models::{At, Goal, Model},
    run::{Point, Run, Settings},
};
use crate::{
    device::AdapterReport,
    picture::{self, Area, Axis, FAINT, GRID, INK, ROW, Stroke, font, ticks},
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
    let (left, right) = plots.split_horizontally(WIDTH / 2);
    let [loss, result] = match model.goal() {
        Goal::Accuracy => [loss(runs), accuracy(runs)],
        Goal::Bits => bits(runs),
    };
    let end = model.at(model.plan().steps);
    draw(&left, end, &loss, !beside)?;
    draw(&right, end, &result, !beside)?;
    if beside {
        // As the lines of the panel beside it end, from the highest to the lowest.
        let mut lines: Vec<&Line> = result.lines.iter().collect();
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
    drop((root, panels, footer, plots, legend, left, right));
    Ok(text)
}

/// One half of the picture.
struct Panel {
    title: &'static str,
    lines: Vec<Line>,
    /// Where the y axis has its marks; it reaches from the first to the last.
    ticks: Vec<f64>,
    tick_label: fn(&f64) -> String,
    legend: Corner,
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
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(name: String, run: &Run, y: impl Fn(&Point) -> f64) -> Self {
        let points = run.curve.iter().map(|point| (f64::from(point.at.count()), y(point)));
        Self {
            name,
            stroke: Stroke::nth(run.rule.index()),
            end: y(&run.last()),
            points: points.filter(|(_, y)| y.is_finite()).collect(),
        }
    }
}

/// The loss by its decimal logarithm, with a mark at each power of ten.
fn loss(runs: &[Run]) -> Panel {
    let line = |run: &Run| Line::new(run.rule.to_string(), run, |point| point.train_loss.log10());
    let lines: Vec<Line> = runs.iter().map(line).collect();
    let all = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    // From 0.1 to 1 at least, so that there is an axis whatever the losses are.
    let lowest = all().fold(-1.0, f64::min).floor();
    let ticks = ticks(lowest, all().fold(0.0, f64::max).ceil(), 1.0);
    let tick_label = |y: &f64| format!("{}", 10f64.powf(*y));
    Panel { title: "training loss", lines, ticks, tick_label, legend: Corner::UpperRight }
}

fn accuracy(runs: &[Run]) -> Panel {
    let percent = |point: &Point| 100.0 * point.test_accuracy;
    // The end is what matters: what lies far below all ends is cut off.
    let worst = runs.iter().map(|run| percent(&run.last())).fold(100.0, f64::min);
    let lowest = if worst > 95.0 { 90.0 } else { (worst / 10.0 - 1.0).floor().max(0.0) * 10.0 };
    let line = |run: &Run| {
        let line = Line::new(format!("{}: {:.1} %", run.rule, percent(&run.last())), run, percent);
        Line { points: above(lowest, &line.points), ..line }
    };
    let lines = runs.iter().map(line).collect();
    let ticks = ticks(lowest, 100.0, if lowest == 90.0 { 2.0 } else { 10.0 });
    let tick_label = |y: &f64| format!("{y}");
    Panel { title: "test accuracy in %", lines, ticks, tick_label, legend: Corner::LowerRight }
}

/// The losses in training and in the test, both on one scale.
fn bits(runs: &[Run]) -> [Panel; 2] {
    let train = |run: &Run| Line::new(run.rule.to_string(), run, |point| point.train_loss / LN_2);
    let test = |run: &Run| {
        let name = format!("{}: {}", run.rule, Goal::Bits.in_words(run.score()));
        Line::new(name, run, |point| point.test_loss / LN_2)
    };
    let mut lines: [Vec<Line>; 2] =
        [runs.iter().map(train).collect(), runs.iter().map(test).collect()];
    let all = || lines.iter().flatten().flat_map(|line| &line.points).map(|(_, y)| *y);
    let lowest = all().fold(2.0, f64::min).floor();
    // What diverges leaves the picture.
    let highest = all().fold(lowest + 1.0, f64::max).ceil().min(lowest + 8.0);
    lines.iter_mut().flatten().for_each(|line| line.points.retain(|(_, y)| *y <= highest));
    let ticks = ticks(lowest, highest, 1.0);
    let panel = |title, lines| {
        let (ticks, tick_label) = (ticks.clone(), |y: &f64| format!("{y}"));
        Panel { title, lines, ticks, tick_label, legend: Corner::UpperRight }
    };
    let [train, test] = lines;
    [
        panel("training loss in bits per character", train),
        panel("test loss in bits per character", test),
    ]
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
    for Line { stroke, points, .. } in &panel.lines {
        match points[..] {
            // A line through one point would be invisible.
            [point] => plot.draw(&Circle::new(point, 3, stroke.color.filled()))?,
            _ => stroke.draw(plot, points.clone())?,
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
    use crate::{
        around::Around,
        rule::RuleName,
        train::{models::Perceptron, schedule::Chosen},
    };

    fn settings() -> Settings {
        let (numerics, around) = (Numerics::default(), Around::default());
        Settings {
            seed: 0,
            numerics,
            around,
            schedule: Chosen::default(),
            monitor: None,
            config: None,
        }
    }

    fn picture(losses: [f64; 3], accuracy: f64) -> String {
        pictures(&["sgd"], losses, accuracy)
    }

    fn pictures(rules: &[&str], losses: [f64; 3], accuracy: f64) -> String {
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
        let runs: Vec<Run> = rules.iter().map(run).collect();
        let adapter =
            AdapterReport { name: "a < b".into(), backend: "vulkan".into(), driver: "c".into() };
        let model = Perceptron::new(3, "32", 128).expect("a model");
        svg(&runs, &adapter, &model, &settings()).expect("drawing into a string")
    }

    #[test]
    fn draws_a_line_in_each_panel() {
        let text = picture([1.0, 0.1, 0.01], 0.98);
        // The lines of the curves and their keys in the legends.
        assert_eq!(text.matches("#009E73").count(), 4);
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
    fn lines_begin_where_the_axis_does() {
        let points = [(1.0, 80.0), (2.0, 100.0), (3.0, 98.0)];
        assert_eq!(above(90.0, &points), [(1.5, 90.0), (2.0, 100.0), (3.0, 98.0)]);
        assert_eq!(above(70.0, &points), points);
        assert!(above(90.0, &[(1.0, 80.0)]).is_empty());
    }
}
