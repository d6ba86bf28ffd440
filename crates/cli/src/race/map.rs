//! The picture: a landscape's contour lines, and the paths over them.

use contour::ContourBuilder;
use plotters::{
    coord::{cartesian::Cartesian2d, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    landscape::{Landscape, View},
    run::Path,
};
use crate::{
    device::AdapterReport,
    picture::{self, Area, FAINT, INK, ROW, Stroke, font},
};

const MAP: u32 = 760;
const LEGEND: u32 = 340;
const HEIGHT: u32 = 640;
const FOOTER: u32 = 36;

/// Samples of the landscape along each side.
const SAMPLES: usize = 240;

/// Contour lines, and how much lower each is than the one outside of it.
const LEVELS: usize = 14;
const LEVEL_RATIO: f64 = 2.2;

/// The ground at the bottom and at the top.
const LOW: [f64; 3] = [193.0, 214.0, 235.0];
const HIGH: [f64; 3] = [255.0, 255.0, 255.0];
const LINE: RGBColor = RGBColor(0xa9, 0xb8, 0xc6);

type Chart<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The picture as SVG.
pub(super) fn svg(
    landscape: Landscape,
    paths: &[Path],
    steps: u32,
    adapter: &AdapterReport,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let rows = u32::try_from(paths.len())? * u32::try_from(ROW)? + 80;
    let height = HEIGHT.max(rows + FOOTER);
    let root = SVGBackend::with_string(&mut text, (MAP + LEGEND, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, footer) = root.split_vertically(height - FOOTER);
    let (map, legend) = upper.split_horizontally(MAP);
    draw_map(&map.margin(0, height - HEIGHT, 0, 0), landscape, paths)?;
    draw_legend(&legend, landscape, paths)?;
    let note = format!(
        "{steps} steps of each in the same compute passes, on {}, {}; weight decay 0",
        adapter.name, adapter.backend
    );
    footer.draw_text(&note, &picture::note(), (i32::try_from((MAP + LEGEND) / 2)?, 8))?;
    root.present()?;
    // The backends borrow the text.
    drop((root, upper, footer, map, legend));
    Ok(text)
}

fn draw_map(area: &Area<'_>, landscape: Landscape, paths: &[Path]) -> anyhow::Result<()> {
    let View { x, y } = landscape.view();
    let title = format!("{}: {}", landscape.name(), landscape.formula());
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(17, INK))
        .margin_top(14)
        .margin_left(14)
        .margin_right(14)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(x, y)?;
    draw_contours(chart.plotting_area(), landscape)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(FAINT)
        .label_style(font(14, INK))
        .x_desc("x")
        .y_desc("y")
        .draw()?;
    let plot = chart.plotting_area();
    // The best last, above the others.
    for path in ranked(paths, landscape).into_iter().rev() {
        let stroke = Stroke::nth(path.entrant);
        for part in within(&landscape.view(), &path.points) {
            stroke.draw(plot, part)?;
        }
        if let Some([x, y]) = path.points.last().filter(|end| landscape.view().contains(**end)) {
            plot.draw(&Circle::new((*x, *y), 4, stroke.color.filled()))?;
        }
    }
    for minimum in landscape.minima() {
        // With a border, since paths end there.
        for style in [WHITE.stroke_width(5), INK.stroke_width(2)] {
            plot.draw(&Cross::new((minimum[0], minimum[1]), 6, style))?;
        }
    }
    let [x, y] = landscape.start().map(f64::from);
    plot.draw(&Circle::new((x, y), 5, WHITE.filled()))?;
    plot.draw(&Circle::new((x, y), 5, INK.stroke_width(2)))?;
    Ok(())
}

/// Areas below each level, the highest first, each with a line around it.
fn draw_contours(plot: &Chart<'_>, landscape: Landscape) -> anyhow::Result<()> {
    let View { x, y } = landscape.view();
    let step = |from: f64, to: f64| (to - from) / SAMPLES as f64;
    let (x_step, y_step) = (step(x.start, x.end), step(y.start, y.end));
    let mut depths = Vec::with_capacity(SAMPLES * SAMPLES);
    for row in 0..SAMPLES {
        for column in 0..SAMPLES {
            let at = |first: f64, step: f64, index: usize| first + step * (index as f64 + 0.5);
            depths.push(-landscape.height([at(x.start, x_step, column), at(y.start, y_step, row)]));
        }
    }
    let highest = -depths.iter().copied().fold(0.0, f64::min);
    let contours = ContourBuilder::new(SAMPLES, SAMPLES, true)
        .x_origin(x.start)
        .y_origin(y.start)
        .x_step(x_step)
        .y_step(y_step);
    plot.fill(&ground(0))?;
    for level in 1..=LEVELS {
        let threshold = -highest / LEVEL_RATIO.powf(level as f64);
        for line in contours.lines(&depths, &[threshold])? {
            for ring in line.geometry() {
                let points: Vec<(f64, f64)> = ring.coords().map(|c| (c.x, c.y)).collect();
                plot.draw(&Polygon::new(points.clone(), ground(level).filled()))?;
                plot.draw(&PathElement::new(points, LINE.stroke_width(1)))?;
            }
        }
    }
    Ok(())
}

/// The colour of the ground within so many contour lines.
fn ground(level: usize) -> RGBColor {
    let part = level as f64 / LEVELS as f64;
    let channel = |index: usize| {
        // Between two bytes.
        (HIGH[index] + (LOW[index] - HIGH[index]) * part).round().clamp(0.0, 255.0)
    };
    #[allow(clippy::cast_possible_truncation, reason = "clamped to a byte")]
    let [r, g, b] = [0, 1, 2].map(|index| channel(index) as u8);
    RGBColor(r, g, b)
}

/// The parts of a path whose points lie in the view, with the crossing lines up to its border.
fn within(view: &View, points: &[[f64; 2]]) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut is_open = false;
    for pair in points.windows(2) {
        let Some([from, to]) = view.clip(pair[0], pair[1]) else {
            is_open = false;
            continue;
        };
        if !is_open {
            parts.push(vec![(from[0], from[1])]);
        }
        if let Some(part) = parts.last_mut() {
            part.push((to[0], to[1]));
        }
        is_open = to == pair[1];
    }
    parts
}

/// From the one that ended lowest.
fn ranked(paths: &[Path], landscape: Landscape) -> Vec<&Path> {
    let mut ranked: Vec<&Path> = paths.iter().collect();
    let key = |path: &Path| (!path.stayed, path.height(landscape));
    ranked.sort_by(|a, b| {
        let ((a_left, a), (b_left, b)) = (key(a), key(b));
        a_left.cmp(&b_left).then(a.total_cmp(&b))
    });
    ranked
}

fn draw_legend(area: &Area<'_>, landscape: Landscape, paths: &[Path]) -> anyhow::Result<()> {
    let style = font(14, INK).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw_text("rule, learning rate: height at the end", &style, (8, 34))?;
    let ranked = ranked(paths, landscape);
    let names: Vec<String> = ranked.iter().map(|path| key(path, landscape)).collect();
    let strokes = ranked.iter().map(|path| Stroke::nth(path.entrant));
    picture::draw_legend(area, (0, 50), names.iter().map(String::as_str).zip(strokes))
}

fn key(path: &Path, landscape: Landscape) -> String {
    let end = match path.stayed {
        true => format!("{:.1e}", path.height(landscape).max(0.0)),
        false => "left the map".to_owned(),
    };
    format!("{}, {}: {end}", path.name, path.lr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_where_the_view_ends() {
        let view = View { x: 0.0..2.0, y: 0.0..2.0 };
        let points = [[1.0, 1.0], [3.0, 1.0], [3.0, 5.0], [1.0, 5.0], [1.0, 1.5], [0.5, 0.5]];
        let parts = within(&view, &points);
        let expected = [vec![(1.0, 1.0), (2.0, 1.0)], vec![(1.0, 2.0), (1.0, 1.5), (0.5, 0.5)]];
        assert_eq!(parts, expected);
        assert!(within(&view, &points[..1]).is_empty());
    }

    #[test]
    fn draws_paths_contours_and_a_legend() {
        let path = |entrant, name: &str, stayed| Path {
            entrant,
            name: name.into(),
            lr: 0.5,
            points: vec![[-1.5, 2.5], [0.0, 0.5], [1.0, 1.0]],
            stayed,
        };
        let adapter =
            AdapterReport { name: "a < b".into(), backend: "vulkan".into(), driver: "c".into() };
        let paths = [path(0, "sgd", false), path(1, "adamw", true)];
        let text = svg(Landscape::Rosenbrock, &paths, 300, &adapter).expect("drawn into a string");
        let place = |key: &str| text.find(key).expect(key);
        // The one that stayed comes first.
        assert!(place("adamw, 0.5: 0.0e0") < place("sgd, 0.5: left the map"));
        assert!(text.contains("a &lt; b") && text.contains("100 (y − x²)²"));
        assert!(text.matches("<polygon").count() > LEVELS);
        // A path, its end and its key.
        assert_eq!(text.matches("#D55E00").count(), 3);
    }
}
