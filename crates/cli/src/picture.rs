//! What all pictures have in common: colours and dashes, fonts, legends, axes with marks at round numbers.

use std::ops::Range;

use plotters::{
    coord::{
        CoordTranslate, Shift,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
        types::RangedCoordf64,
    },
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub(crate) const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
pub(crate) const FAINT: RGBColor = RGBColor(0x75, 0x75, 0x75);
pub(crate) const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);

/// Height of a line of a legend, in pixels.
pub(crate) const ROW: i32 = 20;

/// Colours that remain apart for colour-blind eyes, Okabe and Ito's and two of Tol's.
const COLORS: [RGBColor; 9] = [
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x88, 0x22, 0x55),
    RGBColor(0x99, 0x99, 0x33),
];

/// How long a line is drawn and then is not, in pixels, where there are more lines than colours.
const DASHES: [Option<(i32, i32)>; 4] = [None, Some((9, 4)), Some((2, 3)), Some((16, 3))];

/// So many points are drawn of a curve, two for each pixel.
const MAX_POINTS: usize = 1600;

/// A drawing area without coordinates.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stroke {
    pub(crate) color: RGBColor,
    dash: Option<(i32, i32)>,
}

impl Stroke {
    /// The stroke of the nth line; the first 36 differ.
    pub(crate) fn nth(index: usize) -> Self {
        let (color, dash) = (index % COLORS.len(), index / COLORS.len());
        Self { color: COLORS[color], dash: DASHES[dash % DASHES.len()] }
    }

    /// SVG of a line through these points, which may lie between pixels: smooth curves would be rough at whole ones.
    pub(crate) fn polyline(self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        let RGBColor(red, green, blue) = self.color;
        let dash = self.dash.map(|(length, gap)| format!(" stroke-dasharray=\"{length} {gap}\""));
        let color = format!("#{red:02X}{green:02X}{blue:02X}");
        format!(
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{} points=\"{}\"/>\n",
            dash.unwrap_or_default(),
            points.join(" ")
        )
    }

    /// Draws it thin and solid through these points.
    pub(crate) fn draw_thin<C: CoordTranslate>(
        self,
        area: &DrawingArea<SVGBackend<'_>, C>,
        points: Vec<C::From>,
        opacity: f64,
    ) -> anyhow::Result<()>
    where
        C::From: Clone + 'static,
    {
        area.draw(&PathElement::new(points, self.color.mix(opacity).stroke_width(1)))?;
        Ok(())
    }

    /// Draws it through these points.
    pub(crate) fn draw<C: CoordTranslate>(
        self,
        area: &DrawingArea<SVGBackend<'_>, C>,
        points: Vec<C::From>,
    ) -> anyhow::Result<()>
    where
        C::From: Clone + 'static,
    {
        let style = self.color.stroke_width(2);
        match self.dash {
            None => area.draw(&PathElement::new(points, style))?,
            Some((length, gap)) => {
                area.draw(&DashedPathElement::new(points, length, gap, style))?;
            }
        }
        Ok(())
    }
}

/// The points of a line: of more than can be told apart, the lowest and the highest of each few.
pub(crate) fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let few = points.len().div_ceil(MAX_POINTS / 2).max(1);
    if few <= 2 {
        return points;
    }
    let ends = |few: &[(f64, f64)]| {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [few.iter().min_by(by_y), few.iter().max_by(by_y)];
        let mut ends: Vec<(f64, f64)> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    points.chunks(few).flat_map(ends).collect()
}

/// A legend: a row for each line, from its upper left corner on.
pub(crate) fn draw_legend<'a>(
    area: &Area<'_>,
    (left, top): (i32, i32),
    lines: impl IntoIterator<Item = (&'a str, Stroke)>,
) -> anyhow::Result<()> {
    let style = font(14, INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (row, (name, stroke)) in (0..).zip(lines) {
        let y = top + row * ROW + ROW / 2;
        stroke.draw(area, vec![(left + 8, y), (left + 30, y)])?;
        area.draw_text(name, &style, (left + 38, y))?;
    }
    Ok(())
}

pub(crate) fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Text below something, around its middle.
pub(crate) fn note() -> TextStyle<'static> {
    font(13, FAINT).pos(Pos::new(HPos::Center, VPos::Top))
}

/// `first`, `first + step`, … up to `last`.
pub(crate) fn ticks(first: f64, last: f64, step: f64) -> Vec<f64> {
    (0u8..=u8::MAX).map(|n| first + f64::from(n) * step).take_while(|tick| *tick <= last).collect()
}

/// A linear axis with marks where we want them.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) ticks: Vec<f64>,
    range: Range<f64>,
}

impl Axis {
    /// From the first mark to the last.
    pub(crate) fn between(ticks: &[f64]) -> Self {
        Self { range: ticks[0]..ticks[ticks.len() - 1], ticks: ticks.to_vec() }
    }

    /// From 0, with marks at round whole numbers, nine at most.
    pub(crate) fn counts(last: u32) -> Self {
        let decades = (0..10).map(|exponent| 10u32.pow(exponent));
        let steps = decades.flat_map(|decade| [1, 2, 5].map(|n| decade.saturating_mul(n)));
        let step = steps.into_iter().find(|step| last / step <= 8).unwrap_or(u32::MAX);
        let end = f64::from(last);
        Self { ticks: ticks(0.0, end, step.into()), range: 0.0..end }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_are_drawn_alike() {
        let strokes: Vec<Stroke> = (0..fallline::RULE_NAMES.len()).map(Stroke::nth).collect();
        for (index, stroke) in strokes.iter().enumerate() {
            assert!(!strokes[..index].contains(stroke), "{:?}", fallline::RULE_NAMES[index]);
        }
    }

    #[test]
    fn thin_curves_keep_their_ends() {
        let short = vec![(0.0, 1.0), (2.0, 3.0)];
        assert_eq!(thinned(short.clone()), short);
        let spiky = (0..100_000).map(|t| (f64::from(t), if t == 54_321 { 9.0 } else { 1.0 }));
        let thin = thinned(spiky.collect());
        assert!(thin.len() <= MAX_POINTS + 2 && thin.contains(&(54_321.0, 9.0)), "{}", thin.len());
    }

    #[test]
    fn counts_have_round_marks() {
        assert_eq!(Axis::counts(1).ticks, [0.0, 1.0]);
        assert_eq!(Axis::counts(30).ticks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        for last in [7, 9, 99, 1234, u32::MAX] {
            assert!((2..=9).contains(&Axis::counts(last).ticks.len()), "up to {last}");
        }
    }
}
