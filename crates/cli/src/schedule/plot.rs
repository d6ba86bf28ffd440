//! The picture: learning rates over the steps, and momenta below where there are any.

use plotters::prelude::*;

use super::curve::Curve;
use crate::{
    picture::{self, Area, Axis, FAINT, GRID, INK, ROW, Stroke, font, note, thinned},
    plot::axis::{Scale, Ticks},
};

const WIDTH: u32 = 900;
const LR_HEIGHT: u32 = 400;
const MOMENTUM_HEIGHT: u32 = 240;
const FOOTER: u32 = 30;
/// Of a letter of a legend: the font is the viewer's, and 8 pixels are wide for one of 14.
const LETTER: u32 = 8;

/// The picture as SVG.
pub(super) fn svg(curves: &[Curve], steps: u32) -> anyhow::Result<String> {
    let mut text = String::new();
    let lines = lines(curves);
    let has_momenta = lines.iter().any(|line| !line.momenta.is_empty());
    let longest = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    // One line needs no legend.
    let legend_width = if lines.len() > 1 { 50 + LETTER * u32::try_from(longest)? } else { 0 };
    let plots_height = LR_HEIGHT + if has_momenta { MOMENTUM_HEIGHT } else { 0 };
    let rows = u32::try_from(lines.len())? * u32::try_from(ROW)? + 50;
    let height = plots_height.max(rows) + FOOTER;
    let root = SVGBackend::with_string(&mut text, (WIDTH + legend_width, height));
    let root = root.into_drawing_area();
    root.fill(&WHITE)?;
    let (above, footer) = root.split_vertically(height - FOOTER);
    let (plots, legend) = above.split_horizontally(WIDTH);
    let (lr, momentum) = plots.split_vertically(LR_HEIGHT);
    let panel = Panel { title: "learning rate", steps, last: !has_momenta };
    let mut drawn = panel.draw(&lr, lines.iter().map(|line| (line.stroke, &line.lrs)))?;
    if has_momenta {
        let shared = curves.len() == 1 && lines[1..].iter().all(|line| line.momenta.is_empty());
        let title = if shared && lines.len() > 1 { "momentum of all groups" } else { "momentum" };
        let panel = Panel { title, steps, last: true };
        drawn += &panel.draw(&momentum, lines.iter().map(|line| (line.stroke, &line.momenta)))?;
    }
    if lines.len() > 1 {
        let names = lines.iter().map(|line| (line.name.as_str(), line.stroke));
        picture::draw_legend(&legend, (0, 34), names)?;
    }
    let kinds: Vec<String> = curves.iter().map(|curve| curve.kind.replace('_', " ")).collect();
    let center = i32::try_from(WIDTH / 2)?;
    footer.draw_text(&format!("{}, {steps} steps", kinds.join(", ")), &note(), (center, 6))?;
    root.present()?;
    // The backends borrow the text.
    drop((root, above, footer, plots, legend, lr, momentum));
    let end = text.rfind("</svg>").unwrap_or(text.len());
    text.insert_str(end, &drawn);
    Ok(text)
}

/// A group of a schedule.
struct Line {
    name: String,
    stroke: Stroke,
    lrs: Vec<(f64, f64)>,
    momenta: Vec<(f64, f64)>,
}

fn lines(curves: &[Curve]) -> Vec<Line> {
    let alone = curves.len() == 1;
    let groups =
        curves.iter().flat_map(|curve| (0..curve.lrs.len()).map(move |group| (curve, group)));
    let line = |(index, (curve, group)): (usize, (&Curve, usize))| Line {
        name: match curve.lrs.len() {
            _ if alone => format!("group {group}"),
            1 => curve.name.clone(),
            _ => format!("{}, group {group}", curve.name),
        },
        stroke: Stroke::nth(index),
        lrs: points(curve.lrs[group].iter().copied().map(Some)),
        momenta: momenta(curve, group),
    };
    groups.enumerate().map(line).collect()
}

/// Those of a group; none if another of the schedule has the same.
fn momenta(curve: &Curve, group: usize) -> Vec<(f64, f64)> {
    let Some(own) = curve.momenta.get(group) else { return Vec::new() };
    if curve.momenta[..group].contains(own) { Vec::new() } else { points(own.iter().copied()) }
}

/// The points of a curve.
fn points(values: impl Iterator<Item = Option<f64>>) -> Vec<(f64, f64)> {
    let points = (0u32..).zip(values).filter_map(|(t, y)| Some((f64::from(t), y?)));
    thinned(points.collect())
}

/// Ticks from 0 on, or from below values that are all far above, as momenta.
fn around(values: impl Iterator<Item = f64>) -> Ticks {
    let (low, high) = values
        .filter(|y| y.is_finite())
        .fold((f64::INFINITY, 0.0), |(low, high), y| (y.min(low), y.max(high)));
    let low = if low < high / 2.0 || low >= high { low.min(0.0) } else { low };
    let high = if high > low { high } else { low + 1.0 };
    Ticks::around(Scale::Linear, [low, high].into_iter(), 6)
}

/// One plot.
struct Panel {
    title: &'static str,
    steps: u32,
    /// Whether the steps are told below it.
    last: bool,
}

impl Panel {
    /// Draws the axes, and gives the SVG of the lines.
    fn draw<'a>(
        &self,
        area: &Area<'_>,
        lines: impl Iterator<Item = (Stroke, &'a Vec<(f64, f64)>)> + Clone,
    ) -> anyhow::Result<String> {
        let values = lines.clone().flat_map(|(_, points)| points).map(|(_, y)| *y);
        let ticks = around(values);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, font(17, INK))
            .margin_top(14)
            .margin_left(14)
            .margin_right(28)
            .x_label_area_size(if self.last { 46 } else { 26 })
            .y_label_area_size(72)
            .build_cartesian_2d(Axis::counts(self.steps), ticks.axis())?;
        let label = |y: &f64| ticks.label(*y);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT)
            .label_style(font(14, INK))
            .x_label_formatter(&|x| format!("{x}"))
            .y_label_formatter(&label);
        if self.last {
            mesh.x_desc("step");
        }
        mesh.draw()?;
        let (left, right, top, bottom) = {
            let (x, y) = chart.plotting_area().get_pixel_range();
            (f64::from(x.start), f64::from(x.end), f64::from(y.start), f64::from(y.end))
        };
        let (low, high) = ticks.ends();
        let mut drawn = String::new();
        // The first on top: it is not hidden by others that are alike.
        for (stroke, points) in lines.collect::<Vec<_>>().into_iter().rev() {
            let at = |(t, y): &(f64, f64)| {
                let x = left + (right - left) * t / f64::from(self.steps);
                (x, bottom - (bottom - top) * (y - low) / (high - low))
            };
            match points.as_slice() {
                [] => {}
                // A line through one point would be invisible.
                [point] => {
                    let dot = Circle::new(*point, 3, stroke.color.filled());
                    chart.plotting_area().draw(&dot)?;
                }
                _ => drawn += &stroke.polyline(points.iter().map(at)),
            }
        }
        Ok(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_begin_at_0_unless_all_is_far_above() {
        let ends = |values: &[f64]| around(values.iter().copied()).ends();
        for (values, expected) in [
            (&[0.02, 0.1][..], (0.0, 0.1)),
            (&[3e-4, 3e-4], (0.0, 3e-4)),
            (&[0.85, 0.95], (0.84, 0.96)),
            (&[-0.1, 2.0], (-0.5, 2.0)),
            (&[0.0], (0.0, 1.0)),
            (&[f64::NAN], (0.0, 1.0)),
            (&[], (0.0, 1.0)),
        ] {
            let (low, high) = ends(values);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1e-4 + b.abs());
            assert!(near(low, expected.0) && near(high, expected.1), "{values:?}: {low} to {high}");
        }
    }
}
