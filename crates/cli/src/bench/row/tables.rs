//! Rows in the tables that are printed. Each fits [`print::WIDTH`].

use super::{Baseline, Plain, Row};
use crate::print;

const SPEED: [&str; 8] =
    ["model", "rule", "ms/step", "min..max", "ns/param", "GB/s", "copy", "roofline"];

const COST: [&str; 8] =
    ["model", "rule", "tensors", "params", "dispatches", "encode us", "build ms", "state B/param"];

const BESIDE: [&str; 5] = ["model", "rule", "plain ms", "per tensor ms", "unfused ms"];

/// How fast the steps are, what they cost besides, and what was measured beside them, if anything was.
pub(in crate::bench) fn tables(rows: &[Row]) -> String {
    let mut tables = vec![
        print::table(&SPEED, rows.iter().map(Row::speed)),
        print::table(&COST, rows.iter().map(Row::cost)),
    ];
    if rows.iter().any(Row::has_beside) {
        tables.push(print::table(&BESIDE, rows.iter().map(Row::beside)));
    }
    tables.join("\n")
}

impl Row {
    /// Model and rule, with which every table begins, and how many vec4s a lane has if these are not two.
    fn names(&self) -> Vec<String> {
        let rule = match self.subject.lane_vec4s {
            2 => self.subject.rule.clone(),
            _ => format!("{}, 1 vec4", self.subject.rule),
        };
        vec![self.subject.model.to_owned(), rule]
    }

    fn speed(&self) -> Vec<String> {
        let cells = [
            digits(self.ms_per_step),
            format!("{}..{}", digits(self.ms_per_step_min), digits(self.ms_per_step_max)),
            digits(self.ns_per_param),
            digits(self.gb_per_s),
            digits(self.copy_gb_per_s),
            self.roofline(),
        ];
        [self.names(), cells.to_vec()].concat()
    }

    fn cost(&self) -> Vec<String> {
        let cells = [
            self.tensors.to_string(),
            format!("{:.2} M", self.params as f64 / 1e6),
            self.dispatches.to_string(),
            digits(self.encode_us),
            digits(self.build_ms),
            format!("{:.2}", self.state_bytes_per_param),
        ];
        [self.names(), cells.to_vec()].concat()
    }

    fn has_beside(&self) -> bool {
        let baselines = &self.baselines;
        self.plain.is_some() || baselines.per_tensor.is_some() || baselines.unfused.is_some()
    }

    fn beside(&self) -> Vec<String> {
        let plain = self.plain.as_ref().map(|Plain { ms_per_step, ratio, ratio_q1, ratio_q3 }| {
            format!("{} ({ratio:.2}x, {ratio_q1:.2}..{ratio_q3:.2})", digits(*ms_per_step))
        });
        let baseline = |baseline: &Option<Baseline>| {
            let cell = |Baseline { ms_per_step, ratio }: &Baseline| {
                format!("{} ({ratio:.2}x)", digits(*ms_per_step))
            };
            baseline.as_ref().map(cell)
        };
        let cells =
            [plain, baseline(&self.baselines.per_tensor), baseline(&self.baselines.unfused)];
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        [self.names(), cells.to_vec()].concat()
    }

    /// Median and quartiles.
    fn roofline(&self) -> String {
        format!("{:.2} ({:.2}..{:.2})", self.roofline, self.roofline_q1, self.roofline_q3)
    }

    /// The cells of the table of all rules that numbers are in, with the rule's bytes in int8.
    pub(in crate::bench) fn overview(&self, int8_size_bytes: u64) -> [String; 5] {
        [
            format!("{:.2}", self.state_bytes_per_param),
            format!("{:.2}", int8_size_bytes as f64 / self.params as f64),
            format!("{:.0}", self.bytes_per_param),
            format!("{:.2}", self.ns_per_param),
            format!("{:.2}", self.roofline),
        ]
    }
}

/// Three digits or so, in five characters at most.
pub(in crate::bench) fn digits(value: f64) -> String {
    match value {
        v if v >= 99_999.5 => format!("{v:.1e}"),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_take_five_characters() {
        for (value, text) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (9.996, "10.0"),
            (99.96, "100"),
            (12_345.6, "12346"),
            (99_999.6, "1.0e5"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(digits(value), text);
        }
    }
}
