//! `--find-lr`: a range test, which rates the loss falls at.

use anyhow::{Result, ensure};
use fallline::{Gpu, Group, RangeCurve, RangeTest};
use plotters::prelude::*;

use super::{
    checkpoints::Saves, models::Model, print_line, random::Random, run::Settings,
    training::Training,
};
use crate::{
    Outcome,
    picture::{Axis, FAINT, GRID, INK, Stroke, draw_legend, font, note},
    plot::axis::{Scale, Ticks},
    print,
    rule::RuleName,
};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 440;
const FOOTER: u32 = 30;

/// From where no rule learns to where all diverge, in whole decades.
const DECADES: [i32; 2] = [-7, 1];

/// Whether there is a rate to be found.
pub(super) fn check(groups: &[Group]) -> Result<()> {
    for Group { rule, .. } in groups {
        let name = rule.name();
        ensure!(!rule.has_fixed_lr(), "the learning rate of {name} is fixed: nothing to find");
    }
    Ok(())
}

/// Trains some steps with rates that grow until the loss is far above its lowest.
pub(super) fn curve(
    gpu: &Gpu,
    model: &dyn Model,
    rule: (RuleName, f64),
    settings: &Settings,
) -> Result<RangeCurve> {
    let mut random = Random::new(settings.seed);
    let mut order = model.order(&mut random);
    let saves = Saves::default();
    let mut training = Training::new(gpu, model, rule, settings, &saves, None, &mut random)?;
    let [start, end] = DECADES.map(|decade| 10f64.powi(decade));
    // An average over fifty steps, as by default, would lag behind by half of the decades.
    let test = RangeTest::new().rates(start, end).smoothing(0.9);
    let mut curve = RangeCurve::new(test);
    for step in 0..test.steps {
        let batch = step % model.plan().steps_per_round;
        if batch == 0 {
            model.next_round(&mut order, &mut random);
        }
        let lrs = settings.lrs_at(training.groups(), test.lr(step))?;
        let loss = training.step_with(&order, batch, &lrs)?;
        if !curve.push(test.lr(step), loss) {
            break;
        }
    }
    Ok(curve)
}

/// A line for each step: its rate, the loss of its batch, and the running average.
pub(super) fn csv(curve: &RangeCurve) -> String {
    let line = |point: &fallline::RangePoint| {
        format!("{:?},{:?},{:?}\n", point.lr, point.loss, point.smoothed)
    };
    let lines = curve.points().iter().map(line);
    ["lr,loss,smoothed\n".to_owned()].into_iter().chain(lines).collect()
}

/// What came of it.
pub(super) fn summary(curve: &RangeCurve, rule: RuleName) -> String {
    let steps = curve.points().len();
    match curve.suggestion() {
        Some(lr) => format!(
            "{rule}: the loss falls fastest at --lr {lr:.1e} ({steps} steps; an order of magnitude)"
        ),
        None => format!("{rule}: the loss falls at none of the rates ({steps} steps)"),
    }
}

/// The losses over the rates, as SVG.
pub(super) fn svg(curve: &RangeCurve, rule: RuleName, model: &dyn Model) -> Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (panel, footer) = root.split_vertically(HEIGHT - FOOTER);
    // What diverges leaves the picture.
    let first = curve.points().first().map_or(1.0, |point| point.loss);
    let finite = curve.points().iter().filter(|point| point.loss.is_finite());
    let lr = |point: &fallline::RangePoint| point.lr.log10();
    let losses: Vec<(f64, f64)> = finite.clone().map(|point| (lr(point), point.loss)).collect();
    let smoothed: Vec<(f64, f64)> = finite.map(|point| (lr(point), point.smoothed)).collect();
    let highest = smoothed.iter().map(|(_, y)| *y).fold(first, f64::max).min(2.0 * first);
    let ticks = Ticks::around(Scale::Linear, [0.0, highest].into_iter(), 6);
    let (lowest, top) = ticks.ends();
    let within = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        points.into_iter().filter(|(_, y)| (lowest..=top).contains(y)).collect()
    };
    let decades: Vec<f64> = (DECADES[0]..=DECADES[1]).map(f64::from).collect();
    let mut chart = ChartBuilder::on(&panel)
        .caption(format!("loss of {rule} over its learning rate"), font(17, INK))
        .margin_top(14)
        .margin_left(14)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(Axis::between(&decades), ticks.axis())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(14, INK))
        .x_desc("learning rate")
        .x_label_formatter(&|x| format!("1e{x}"))
        .y_label_formatter(&|y| ticks.label(*y))
        .draw()?;
    let (average, single, mark) = (Stroke::nth(0), Stroke::nth(1), Stroke::nth(2));
    let plot = chart.plotting_area();
    for (x, y) in within(losses) {
        plot.draw(&Circle::new((x, y), 2, single.color.filled()))?;
    }
    average.draw(plot, within(smoothed))?;
    let mut legend =
        vec![("loss of the batch".to_owned(), single), ("average".to_owned(), average)];
    if let Some(lr) = curve.suggestion() {
        mark.draw(plot, vec![(lr.log10(), lowest), (lr.log10(), top)])?;
        legend.push((format!("falls fastest: {lr:.1e}"), mark));
    }
    let names = legend.iter().map(|(name, stroke)| (name.as_str(), *stroke));
    draw_legend(&plot.strip_coord_spec(), (10, 6), names)?;
    footer.draw_text(&model.caption(), &note(), (i32::try_from(WIDTH / 2)?, 4))?;
    root.present()?;
    // The backends borrow the text.
    drop((root, panel, footer, chart));
    Ok(text)
}

/// What `fallline train --find-lr` does instead of a run.
pub(super) fn run(
    args: &super::Args,
    model: &dyn Model,
    (rule, lr): (RuleName, f64),
    settings: &Settings,
    device: &crate::device::DeviceArgs,
) -> Result<Outcome> {
    let mut outputs = args.outputs();
    let svg_file = outputs.open_any(args.svg.as_deref())?;
    let csv_file = outputs.open_any(args.csv.as_deref())?;
    let gpu = device.open()?;
    let curve = curve(&gpu, model, (rule, lr), settings)?;
    if let Some(file) = &svg_file {
        file.write(svg(&curve, rule, model)?.as_bytes())?;
    }
    if let Some(file) = &csv_file {
        file.write(csv(&curve).as_bytes())?;
    }
    print_line(&summary(&curve, rule))?;
    let files = svg_file.iter().chain(&csv_file).map(|file| print::path(file.path()));
    let files: Vec<String> = files.collect();
    if !files.is_empty() {
        print_line(&format!("The losses are in {}", files.join(" and ")))?;
    }
    Ok(Outcome::Good)
}
