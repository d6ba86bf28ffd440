//! Losses of all steps as a picture and as a table.

use std::fmt::Write;

use burn::module::Module;
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};

use super::{Args, Result, Run};

const SIZE: (u32, u32) = (1000, 420);
const FOOTER: u32 = 30;
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const FAINT: RGBColor = RGBColor(0x75, 0x75, 0x75);
const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
/// Okabe and Ito's, which remain apart for colour-blind eyes.
const COLORS: [RGBColor; 5] = [
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x3a, 0x63),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x7a, 0x32, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
];
/// Where losses are drawn that do not differ: f32 has nothing between them and those that differ by a little more.
const LEAST: f64 = 1e-7;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Writes what `svg=` and `csv=` ask for.
pub(crate) fn write<M: Module>(args: &Args, caption: &str, runs: &[Run<M>]) -> Result {
    if let Some(path) = args.path("csv") {
        std::fs::write(path, csv(runs)?)?;
    }
    if let Some(path) = args.path("svg") {
        std::fs::write(path, svg(caption, runs)?)?;
    }
    Ok(())
}

/// A column for each run.
fn csv<M>(runs: &[Run<M>]) -> Result<String> {
    let mut text = String::from("step");
    runs.iter().try_for_each(|run| write!(text, ",\"{}\"", run.name))?;
    text.push('\n');
    for step in 0..runs.first().map_or(0, |run| run.losses.len()) {
        write!(text, "{}", step + 1)?;
        runs.iter().try_for_each(|run| write!(text, ",{}", run.losses[step]))?;
        text.push('\n');
    }
    Ok(text)
}

/// Losses on the left, how far they are from Burn's on the right.
fn svg<M>(caption: &str, runs: &[Run<M>]) -> Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (panels, footer) = root.split_vertically(SIZE.1 - FOOTER);
    let (left, right) = panels.split_horizontally(SIZE.0 / 2);
    losses(&left, runs)?;
    differences(&right, runs)?;
    let style = ("sans-serif", 13).into_font().color(&FAINT);
    footer.draw_text(caption, &style, (24, 6))?;
    root.present()?;
    // The backends borrow the text.
    drop((root, panels, footer, left, right));
    Ok(text)
}

fn losses<M>(area: &Area<'_>, runs: &[Run<M>]) -> Result {
    let finite = || runs.iter().flat_map(|run| &run.losses).filter(|loss| loss.is_finite());
    let (low, high) =
        (finite().fold(f64::MAX, |a, b| a.min(*b)), finite().fold(0.0, |a: f64, b| a.max(*b)));
    let mut chart =
        chart(area, runs, "training loss", low.min(high)..high, |loss| format!("{loss:.1}"))?;
    for (number, run) in runs.iter().enumerate() {
        // What follows Burn's lies on it, and both are to be seen.
        let (width, opacity) = if run.beside.is_some() { (1, 1.0) } else { (6, 0.5) };
        let points = run.losses.iter().copied();
        line(
            &mut chart,
            run.name,
            number,
            points,
            COLORS[number].mix(opacity).stroke_width(width),
        )?;
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn differences<M>(area: &Area<'_>, runs: &[Run<M>]) -> Result {
    let title = "difference from Burn's";
    let mut chart =
        chart(area, runs, title, LEAST.log10()..0.0, |exponent| format!("1e{exponent}"))?;
    for (number, run) in runs.iter().enumerate() {
        let Some(burns) = run.beside else { continue };
        let both = run.losses.iter().zip(&runs[burns].losses);
        let points = both.map(|(ours, burns)| (ours - burns).abs().max(LEAST).log10());
        line(&mut chart, run.name, number, points, COLORS[number].stroke_width(2))?;
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn chart<'a, 'b, M>(
    area: &'a Area<'b>,
    runs: &[Run<M>],
    title: &str,
    range: std::ops::Range<f64>,
    label: fn(&f64) -> String,
) -> Result<Chart<'a, 'b>> {
    let steps = runs.iter().map(|run| run.losses.len()).max().unwrap_or(0);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17).into_font().color(&INK))
        .margin_top(14)
        .margin_left(14)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..steps as f64, range)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .x_desc("step")
        .x_label_formatter(&|step| format!("{step}"))
        .y_label_formatter(&label)
        .draw()?;
    Ok(chart)
}

/// Draws values of the steps, where they are finite.
fn line<'a, 'b: 'a>(
    chart: &mut Chart<'a, 'b>,
    name: &str,
    number: usize,
    values: impl Iterator<Item = f64>,
    style: ShapeStyle,
) -> Result {
    let points = (1u32..).map(f64::from).zip(values).filter(|(_, value)| value.is_finite());
    let key = COLORS[number].stroke_width(2);
    let drawn = chart.draw_series(LineSeries::new(points, style))?;
    drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], key));
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Result {
    let style = ("sans-serif", 14).into_font().color(&INK);
    let mut labels = chart.configure_series_labels();
    labels.position(position).margin(8).label_font(style).background_style(WHITE).draw()?;
    Ok(())
}
