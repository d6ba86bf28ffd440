//! Where an axis has its ticks, and which numbers stand there.

use crate::picture;

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// By the decimal logarithm.
    Log,
}

impl Scale {
    /// Where a value lies, if it does.
    pub(crate) fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log => value.log10(),
        };
        Some(place).filter(|place| place.is_finite())
    }
}

/// Round ticks around values: the axis reaches from the first to the last.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    /// With what stands there.
    ticks: Vec<(f64, String)>,
}

impl Ticks {
    /// Around these places, about this many.
    pub(crate) fn around(scale: Scale, places: impl Iterator<Item = f64>, count: u8) -> Self {
        let (low, high) = places
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let ticks = match scale {
            Scale::Linear => linear(low, high, count.into()),
            Scale::Log => log(low, high, count.into()),
        };
        Self { ticks }
    }

    pub(crate) fn axis(&self) -> picture::Axis {
        picture::Axis::between(&self.places())
    }

    /// The first and the last.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.ticks[0].0, self.ticks[self.ticks.len() - 1].0)
    }

    /// What stands at a tick.
    pub(crate) fn label(&self, place: f64) -> String {
        let is_here = |tick: f64| (tick - place).abs() <= 1e-9 * place.abs().max(1e-30);
        let tick = self.ticks.iter().find(|(tick, _)| is_here(*tick));
        tick.map(|(_, label)| label.clone()).unwrap_or_default()
    }

    fn places(&self) -> Vec<f64> {
        self.ticks.iter().map(|(place, _)| *place).collect()
    }
}

fn linear(low: f64, high: f64, count: f64) -> Vec<(f64, String)> {
    // A value that never changes lies in the middle.
    let margin = if high > low { 0.0 } else { low.abs().max(1e-30) / 2.0 };
    let (low, high) = (low - margin, high + margin);
    let step = round_up((high - low) / count);
    // What lies at a tick but for rounding needs none beyond.
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    let places = picture::ticks(first, last + 0.5, 1.0).into_iter().map(|n| n * step);
    places.map(|x| (x, number(x, step))).collect()
}

/// Powers of ten, and 2 and 5 times these where there are few.
fn log(low: f64, high: f64, count: f64) -> Vec<(f64, String)> {
    // A value that never changes lies between two.
    let (low, high) = (low - 0.05, high + 0.05);
    let (first, last) = (low.floor(), high.ceil());
    let mut ticks: Vec<(f64, String)> = Vec::new();
    if last - first <= 2.0 {
        for decade in picture::ticks(first, last, 1.0) {
            ticks.extend([1.0f64, 2.0, 5.0].map(|n| (decade + n.log10(), power(n, decade))));
        }
    } else {
        let step = ((last - first) / count).ceil();
        let (first, last) = ((first / step).floor() * step, (last / step).ceil() * step);
        ticks.extend(picture::ticks(first, last, step).into_iter().map(|x| (x, power(1.0, x))));
    }
    // From the last below all values to the first above.
    let first = ticks.iter().rposition(|(x, _)| *x <= low).unwrap_or(0);
    let last = ticks.iter().position(|(x, _)| *x >= high).unwrap_or(ticks.len() - 1);
    ticks[first..=last].to_vec()
}

/// The next of 1, 2, 5, 10, …
fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let of_decade = [1.0, 2.0, 5.0].into_iter().map(|n| n * decade);
    of_decade.into_iter().find(|step| *step >= value * 0.999).unwrap_or(10.0 * decade)
}

/// A multiple of a step, with no more digits than that needs.
fn number(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let exponent = value.abs().log10().floor();
        let mantissa = (value / 10f64.powf(exponent) * 100.0).round() / 100.0;
        return format!("{mantissa}e{exponent}");
    }
    let digits = (0usize..=9).find(|digits| {
        let scaled = step * 10f64.powi(i32::try_from(*digits).unwrap_or(0));
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    format!("{value:.*}", digits.unwrap_or(9))
}

/// n · 10^exponent, n from 1 to 9.
fn power(n: f64, exponent: f64) -> String {
    match (-3.0..=4.0).contains(&exponent) {
        true => number(n * 10f64.powf(exponent), n * 10f64.powf(exponent)),
        false => format!("{n}e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &Ticks) -> Vec<&str> {
        ticks.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_around_all_values() {
        let linear = |low: f64, high: f64| Ticks::around(Scale::Linear, [high, low].into_iter(), 3);
        assert_eq!(labels(&linear(0.0, 1e-3)), ["0", "5e-4", "0.0010"]);
        assert_eq!(labels(&linear(1.7, 2.3)), ["1.6", "1.8", "2.0", "2.2", "2.4"]);
        assert_eq!(labels(&linear(3.0, 3.0)), ["1", "2", "3", "4", "5"]);
        let log = |low: f64, high: f64| {
            let places = [low, high].into_iter().filter_map(|x| Scale::Log.place(x));
            Ticks::around(Scale::Log, places, 3)
        };
        assert_eq!(labels(&log(3e-7, 2e-3)), ["1e-8", "1e-6", "1e-4", "0.01"]);
        assert_eq!(labels(&log(0.3, 4.0)), ["0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(&log(1.0, 1.0)), ["0.5", "1", "2"]);
        for (scale, values) in [
            (Scale::Linear, [-5.0, 77.0]),
            (Scale::Linear, [0.0, 0.0]),
            (Scale::Log, [-30.0, 30.0]),
            (Scale::Log, [-0.004, 0.004]),
        ] {
            let ticks = Ticks::around(scale, values.into_iter(), 3);
            let (first, last) = ticks.ends();
            assert!(first < last && first <= values[0] && values[1] <= last, "{ticks:?}");
            assert!((2..=9).contains(&ticks.ticks.len()), "{ticks:?}");
            for place in ticks.places() {
                assert!(!ticks.label(place).is_empty(), "{ticks:?}");
            }
        }
    }

    #[test]
    fn no_values_have_an_axis_all_the_same() {
        for scale in [Scale::Linear, Scale::Log] {
            assert!(Ticks::around(scale, std::iter::empty(), 3).ticks.len() > 1);
        }
        assert_eq!((Scale::Log.place(0.0), Scale::Log.place(-1.0)), (None, None));
    }
}
