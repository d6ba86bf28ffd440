//! How a figure is drawn: panels one above the other, over one axis of steps.

use plotters::{
    coord::CoordTranslate,
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    axis::Ticks,
    panels::{Figure, Kind, Line, Panel},
};
use crate::picture::{Area, Axis, FAINT, GRID, INK, Stroke, font};

const WIDTH: u32 = 960;
const PANEL: u32 = 130;
const HEADER: u32 = 58;
/// Below the last panel: the axis of steps.
const FOOTER: u32 = 44;
/// Beside the panels: labels of ticks, and names of lines.
const LEFT: u32 = 76;
const RIGHT: u32 = 150;
const GAP: u32 = 14;
/// Of a line of a legend.
const ROW: i32 = 17;
/// Letters of a name that the margin has room for.
const NAME: usize = 15;

/// Of steps that were skipped, and of the first that was not finite.
const SKIPPED: RGBColor = RGBColor(0xf3, 0xb3, 0x8d);
const ALARM: RGBColor = RGBColor(0xb3, 0x1b, 0x1b);

/// The picture as SVG.
pub(super) fn svg(figure: &Figure) -> anyhow::Result<String> {
    let mut text = String::new();
    let panels = u32::try_from(figure.panels.len())?;
    let height = HEADER + panels * PANEL + FOOTER;
    let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    draw_header(&root, figure)?;
    for (number, panel) in (0u32..).zip(&figure.panels) {
        let top = HEADER + number * PANEL;
        let is_last = number + 1 == panels;
        let bottom = top + PANEL + if is_last { FOOTER } else { 0 };
        let area = root.clone().shrink((0, top), (WIDTH, bottom - top));
        draw(&area, figure, panel, is_last)?;
    }
    root.present()?;
    // The backend borrows the text.
    drop(root);
    Ok(text)
}

/// The title, and what the vertical lines are.
fn draw_header(root: &Area<'_>, figure: &Figure) -> anyhow::Result<()> {
    let left = i32::try_from(LEFT)?;
    root.draw_text(&figure.title, &font(16, INK), (left, 12))?;
    let style = font(13, FAINT).pos(Pos::new(HPos::Left, VPos::Center));
    let (y, mut x) = (44, left);
    let mut key = |color: RGBColor, width: u32, text: &str| -> anyhow::Result<()> {
        root.draw(&PathElement::new([(x, y - 7), (x, y + 7)], color.stroke_width(width)))?;
        root.draw_text(text, &style, (x + 8, y))?;
        // The font is the viewer's: 7 pixels are wide for a letter of 13.
        x += 32 + 7 * i32::try_from(text.chars().count())?;
        Ok(())
    };
    if let Some(first) = &figure.non_finite {
        let text = format!("step {}: first gradient not finite, in {}", first.step, first.tensor);
        key(ALARM, 2, &text)?;
    }
    match figure.skipped.len() {
        0 => {}
        1 => key(SKIPPED, 2, "1 skipped step")?,
        count => key(SKIPPED, 2, &format!("{count} skipped steps"))?,
    }
    Ok(())
}

fn draw(area: &Area<'_>, figure: &Figure, panel: &Panel, is_last: bool) -> anyhow::Result<()> {
    let values = || panel.lines.iter().flat_map(|line| &line.runs).flatten().map(|(_, y)| *y);
    let ticks = Ticks::around(panel.scale, values(), 3);
    let (bottom, top) = ticks.ends();
    let mut chart = ChartBuilder::on(area)
        .margin_top(GAP)
        .margin_left(8)
        .margin_right(RIGHT)
        .x_label_area_size(if is_last { FOOTER } else { 0 })
        .y_label_area_size(LEFT - 8)
        .build_cartesian_2d(Axis::counts(figure.last_step.max(1)), ticks.axis())?;
    let label = |y: &f64| ticks.label(*y);
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(12, INK))
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&label);
    if is_last {
        mesh.x_desc("step");
    }
    mesh.draw()?;
    let plot = chart.plotting_area();
    let mark = |step: u32, color: RGBColor, width: u32| {
        let x = f64::from(step);
        plot.draw(&PathElement::new([(x, bottom), (x, top)], color.stroke_width(width)))
    };
    for step in &figure.skipped {
        mark(*step, SKIPPED, 1)?;
    }
    if let Some(first) = &figure.non_finite {
        mark(first.step, ALARM, 2)?;
    }
    for line in &panel.lines {
        for run in &line.runs {
            match run[..] {
                // A line through one point would be invisible.
                [point] => {
                    plot.draw(&Circle::new(point, 2, color(line.kind).filled()))?;
                }
                _ => draw_line(plot, line.kind, run.clone())?,
            }
        }
    }
    draw_names(area, panel)
}

/// The title of a panel and the names of its lines, in the margin on the right.
fn draw_names(area: &Area<'_>, panel: &Panel) -> anyhow::Result<()> {
    let left = i32::try_from(WIDTH - RIGHT)? + 14;
    let mut y = i32::try_from(GAP)? + 6;
    let bold = ("sans-serif", 13).into_font().style(FontStyle::Bold).color(&INK);
    area.draw_text(panel.title, &bold.pos(Pos::new(HPos::Left, VPos::Center)), (left, y))?;
    // One line needs no name.
    if let [_] = panel.lines[..] {
        return Ok(());
    }
    let style = font(12, INK).pos(Pos::new(HPos::Left, VPos::Center));
    for Line { name, kind, .. } in &panel.lines {
        y += ROW;
        draw_line(area, *kind, vec![(left, y), (left + 20, y)])?;
        let shown = match name.char_indices().nth(NAME) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name.clone(),
        };
        area.draw_text(&shown, &style, (left + 26, y))?;
    }
    Ok(())
}

fn draw_line<C: CoordTranslate>(
    area: &DrawingArea<SVGBackend<'_>, C>,
    kind: Kind,
    points: Vec<C::From>,
) -> anyhow::Result<()>
where
    C::From: Clone + 'static,
{
    let dashed = |length: i32, gap: i32, width: u32| {
        let style = color(kind).stroke_width(width);
        area.draw(&DashedPathElement::new(points.clone(), length, gap, style))
    };
    match kind {
        Kind::Series(number) => Stroke::nth(number).draw(area, points)?,
        Kind::Limit => dashed(8, 4, 1)?,
        Kind::Suggested => dashed(2, 3, 2)?,
    }
    Ok(())
}

fn color(kind: Kind) -> RGBColor {
    match kind {
        Kind::Series(number) => Stroke::nth(number).color,
        Kind::Limit => INK,
        Kind::Suggested => FAINT,
    }
}
