//! Functions of two numbers that optimizers are shown on.

use std::ops::Range;

use clap::ValueEnum;

/// One of them. Its gradient is in WGSL, its values, for the map, are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Landscape {
    /// Rosenbrock's: a flat, curved valley between steep walls
    Rosenbrock,
    /// Beale's: a plateau with walls at its corners
    Beale,
    /// An ellipse 25 times as steep one way as the other
    Quadratic,
    /// A saddle between two valleys, from a start almost on its ridge
    Saddle,
}

/// What a picture shows of a landscape.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) x: Range<f64>,
    pub(super) y: Range<f64>,
}

impl View {
    pub(super) fn contains(&self, [x, y]: [f64; 2]) -> bool {
        self.x.contains(&x) && self.y.contains(&y)
    }

    /// The part of a line that lies in it (Liang and Barsky's).
    pub(super) fn clip(&self, from: [f64; 2], to: [f64; 2]) -> Option<[[f64; 2]; 2]> {
        let (mut enters, mut leaves) = (0.0f64, 1.0f64);
        for (axis, range) in [&self.x, &self.y].into_iter().enumerate() {
            let delta = to[axis] - from[axis];
            if delta == 0.0 {
                if !(range.start..=range.end).contains(&from[axis]) {
                    return None;
                }
                continue;
            }
            let [a, b] = [range.start, range.end].map(|border| (border - from[axis]) / delta);
            enters = enters.max(a.min(b));
            leaves = leaves.min(a.max(b));
        }
        let at = |part: f64| match part {
            0.0 => from,
            1.0 => to,
            _ => [0, 1].map(|axis| from[axis] + part * (to[axis] - from[axis])),
        };
        (enters <= leaves).then(|| [at(enters), at(leaves)])
    }

    /// Whether a point lies in it, or not farther outside than half its size.
    pub(super) fn is_near(&self, [x, y]: [f64; 2]) -> bool {
        let wider = |range: &Range<f64>| {
            let margin = (range.end - range.start) / 2.0;
            range.start - margin..range.end + margin
        };
        wider(&self.x).contains(&x) && wider(&self.y).contains(&y)
    }
}

impl Landscape {
    /// As the command line has it.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// As a picture has it.
    pub(super) fn formula(self) -> &'static str {
        match self {
            Self::Rosenbrock => "(1 − x)² + 100 (y − x²)²",
            Self::Beale => "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
            Self::Quadratic => "½ (x² + 25 y²)",
            Self::Saddle => "½ x² − ½ y² + ¼ y⁴",
        }
    }

    pub(super) fn value(self, [x, y]: [f64; 2]) -> f64 {
        match self {
            Self::Rosenbrock => (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2),
            Self::Beale => [(1.5, 1), (2.25, 2), (2.625, 3)]
                .into_iter()
                .map(|(c, n)| (c - x + x * y.powi(n)).powi(2))
                .sum(),
            Self::Quadratic => 0.5 * (x * x + 25.0 * y * y),
            Self::Saddle => 0.5 * x * x - 0.5 * y * y + 0.25 * y.powi(4),
        }
    }

    /// Declares `gradient`.
    pub(super) fn wgsl(self) -> &'static str {
        match self {
            Self::Rosenbrock => include_str!("shaders/rosenbrock.wgsl"),
            Self::Beale => include_str!("shaders/beale.wgsl"),
            Self::Quadratic => include_str!("shaders/quadratic.wgsl"),
            Self::Saddle => include_str!("shaders/saddle.wgsl"),
        }
    }

    pub(super) fn start(self) -> [f32; 2] {
        match self {
            Self::Rosenbrock => [-1.5, 2.5],
            Self::Beale => [1.0, 1.5],
            Self::Quadratic => [-4.5, 1.5],
            Self::Saddle => [-1.5, 0.01],
        }
    }

    /// Where it is smallest.
    pub(super) fn minima(self) -> &'static [[f64; 2]] {
        match self {
            Self::Rosenbrock => &[[1.0, 1.0]],
            Self::Beale => &[[3.0, 0.5]],
            Self::Quadratic => &[[0.0, 0.0]],
            Self::Saddle => &[[0.0, 1.0], [0.0, -1.0]],
        }
    }

    /// How far a value is from the smallest.
    pub(super) fn height(self, point: [f64; 2]) -> f64 {
        self.value(point) - self.value(self.minima()[0])
    }

    pub(super) fn view(self) -> View {
        let (x, y) = match self {
            Self::Rosenbrock => (-2.2..2.2, -0.8..3.2),
            Self::Beale => (-0.5..4.5, -1.5..2.5),
            Self::Quadratic => (-5.0..3.0, -3.2..3.2),
            Self::Saddle => (-1.8..1.0, -1.2..1.6),
        };
        View { x, y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minima_are_lowest_and_in_view_as_is_the_start() {
        for &landscape in Landscape::value_variants() {
            let view = landscape.view();
            assert!(view.contains(landscape.start().map(f64::from)), "{landscape:?}");
            for &minimum in landscape.minima() {
                assert!(view.contains(minimum) && landscape.height(minimum).abs() < 1e-12);
                for step in [[1e-3, 0.0], [-1e-3, 0.0], [0.0, 1e-3], [0.0, -1e-3]] {
                    let beside = [minimum[0] + step[0], minimum[1] + step[1]];
                    assert!(landscape.height(beside) > 0.0, "{landscape:?} {beside:?}");
                }
            }
        }
    }
}
