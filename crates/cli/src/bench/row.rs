//! A row of the result, in JSON and in the tables.

use fallline::{Rule, Scope, Slot, SlotKind, SlotShape, TensorSpec, rule_reference};
use serde::Serialize;

use super::{
    Short,
    measure::{Bench, Paired, Samples},
    models::Model,
};
use crate::{
    around::Around,
    device::AdapterReport,
    precision::Numerics,
    print,
    rule::RuleName,
    timing::{median, quantile},
};

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    adapter: AdapterReport,
    model: &'static str,
    tensors: usize,
    params: u64,
    rule: String,
    #[serde(flatten)]
    numerics: Numerics,
    #[serde(flatten)]
    around: Around,
    width: f64,
    borrowed: bool,
    steps: usize,
    ms_per_step: f64,
    ms_per_step_min: f64,
    ms_per_step_max: f64,
    ns_per_param: f64,
    bytes_per_param: f64,
    gb_per_s: f64,
    copy_gb_per_s: f64,
    /// Time of the step's bare memory traffic by the time of the step: the rounds' median.
    roofline: f64,
    roofline_q1: f64,
    roofline_q3: f64,
    passes: u32,
    dispatches: usize,
    encode_us: f64,
    /// Host time of building the optimizer, with the kernels that it needs; of the first step.
    build_ms: f64,
    first_step_ms: f64,
    state_bytes_per_param: f64,
    timing: &'static str,
    /// A step in f32 that neither clips nor scales, with nothing around the rule; `null` if that is the step itself.
    plain: Option<Plain>,
    baselines: Baselines,
}

#[derive(Debug, Serialize)]
struct Plain {
    ms_per_step: f64,
    /// The step by the plain step: median and quartiles of the rounds.
    ratio: f64,
    ratio_q1: f64,
    ratio_q3: f64,
}

impl Plain {
    fn new(samples: &Samples) -> Option<Self> {
        let ratios: Vec<f64> =
            samples.step.iter().zip(&samples.plain).map(|(step, plain)| step / plain).collect();
        (!ratios.is_empty()).then(|| Self {
            ms_per_step: median(&samples.plain) * 1e3,
            ratio: median(&ratios),
            ratio_q1: quantile(&ratios, 0.25),
            ratio_q3: quantile(&ratios, 0.75),
        })
    }
}

/// `null`: not measured.
#[derive(Debug, Serialize)]
struct Baselines {
    per_tensor: Option<Baseline>,
    unfused: Option<Baseline>,
}

#[derive(Debug, Serialize)]
struct Baseline {
    ms_per_step: f64,
    /// By the time of the step: the median of the rounds in which the baseline took part.
    ratio: f64,
}

impl Baseline {
    fn new(rounds: &[Paired]) -> Option<Self> {
        let seconds: Vec<f64> = rounds.iter().map(|round| round.baseline).collect();
        let ratios: Vec<f64> = rounds.iter().map(|round| round.baseline / round.step).collect();
        let baseline = Self { ms_per_step: median(&seconds) * 1e3, ratio: median(&ratios) };
        (!rounds.is_empty()).then_some(baseline)
    }
}

impl Row {
    pub(crate) fn new(
        bench: &Bench,
        (model, name, width): (Model, RuleName, f64),
        specs: &[TensorSpec],
        rule: &dyn Rule,
        samples: &Samples,
    ) -> Self {
        let params: u64 =
            specs.iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum();
        let bytes_per_param = bytes_per_param(&bench.numerics, bench.around, rule);
        let ratios: Vec<f64> =
            samples.traffic.iter().zip(&samples.step).map(|(bare, step)| bare / step).collect();
        let step_s = median(&samples.step);
        Self {
            adapter: AdapterReport::new(&bench.gpu.adapter_info()),
            model: model.name(),
            tensors: specs.len(),
            params,
            rule: name.to_string(),
            numerics: bench.numerics,
            around: bench.around,
            width,
            borrowed: bench.borrowed,
            steps: samples.step.len(),
            ms_per_step: step_s * 1e3,
            ms_per_step_min: quantile(&samples.step, 0.0) * 1e3,
            ms_per_step_max: quantile(&samples.step, 1.0) * 1e3,
            ns_per_param: step_s * 1e9 / params as f64,
            bytes_per_param,
            gb_per_s: bytes_per_param * params as f64 / step_s / 1e9,
            copy_gb_per_s: bench.copy.gb_per_s(median(&samples.copy)),
            roofline: median(&ratios),
            roofline_q1: quantile(&ratios, 0.25),
            roofline_q3: quantile(&ratios, 0.75),
            passes: 1,
            dispatches: samples.dispatches,
            encode_us: median(&samples.encode) * 1e6,
            build_ms: samples.build * 1e3,
            first_step_ms: samples.first_step * 1e3,
            state_bytes_per_param: samples.state_size_bytes as f64 / params as f64,
            timing: bench.timer.name(),
            plain: Plain::new(samples),
            baselines: Baselines {
                per_tensor: Baseline::new(&samples.per_tensor),
                unfused: Baseline::new(&samples.unfused),
            },
        }
    }

    /// What a short measurement tells of it.
    pub(super) fn short(&self) -> Short {
        Short {
            params: self.params,
            ms_per_step: self.ms_per_step,
            gb_per_s: self.gb_per_s,
            copy_gb_per_s: self.copy_gb_per_s,
            roofline: self.roofline,
            timing: self.timing,
        }
    }

    /// The row's cells below [`SPEED`].
    fn speed(&self) -> Vec<String> {
        vec![
            self.model.to_owned(),
            self.rule.clone(),
            format!("{:.2} M", self.params as f64 / 1e6),
            digits(self.ms_per_step),
            format!("{}..{}", digits(self.ms_per_step_min), digits(self.ms_per_step_max)),
            format!("{:.2}", self.ns_per_param),
            format!("{:.1}", self.gb_per_s),
            format!("{:.1}", self.copy_gb_per_s),
            format!("{:.2} ({:.2}..{:.2})", self.roofline, self.roofline_q1, self.roofline_q3),
        ]
    }

    /// The row's cells in the table of all rules, by what the rule keeps, in which formats, and its bytes in int8.
    pub(super) fn overview(
        &self,
        [slots, formats]: [String; 2],
        int8_size_bytes: u64,
    ) -> [String; 9] {
        let reference = rule_reference(&self.rule).unwrap_or("-");
        [
            format!("`{}`", self.rule),
            format!("`{reference}`"),
            slots,
            formats,
            format!("{:.2}", self.state_bytes_per_param),
            format!("{:.2}", int8_size_bytes as f64 / self.params as f64),
            format!("{:.0}", self.bytes_per_param),
            format!("{:.2}", self.ns_per_param),
            format!("{:.2}", self.roofline),
        ]
    }

    /// The row's cells below [`COST`].
    fn cost(&self) -> Vec<String> {
        let baseline = |baseline: &Option<Baseline>| match baseline {
            Some(Baseline { ms_per_step, ratio }) => {
                format!("{} ({ratio:.2}x)", digits(*ms_per_step))
            }
            None => "-".to_owned(),
        };
        vec![
            self.model.to_owned(),
            self.rule.clone(),
            self.tensors.to_string(),
            self.dispatches.to_string(),
            format!("{:.0}", self.encode_us),
            digits(self.build_ms),
            format!("{:.2}", self.state_bytes_per_param),
            match &self.plain {
                Some(Plain { ms_per_step, ratio, ratio_q1, ratio_q3 }) => {
                    let ms = digits(*ms_per_step);
                    format!("{ms} ({ratio:.2}x, {ratio_q1:.2}..{ratio_q3:.2})")
                }
                None => "-".to_owned(),
            },
            baseline(&self.baselines.per_tensor),
            baseline(&self.baselines.unfused),
        ]
    }
}

const SPEED: [&str; 9] =
    ["model", "rule", "params", "ms/step", "min..max", "ns/param", "GB/s", "copy GB/s", "roofline"];

/// Bytes that a step must move for each element: parameter, what is kept beside it, and state read and
/// written, and read before where something looks at whole tensors; the gradient read, once more if something is decided
/// by it before, and once more for rows, columns or blocks; the average read and written. (Lookahead's slow weights are not
/// touched in most steps, nor counted. Of large tensors: small ones keep their state in f32; what has other shapes than the parameter does
/// not count.)
fn bytes_per_param(numerics: &Numerics, around: Around, rule: &dyn Rule) -> f64 {
    let spec = numerics.spec(TensorSpec::new("", [1, 1]));
    let grads = if numerics.clip.is_some() || numerics.scales() { 2 } else { 1 };
    let kept = spec.dtype.size_bytes() + spec.precision.size_bytes();
    let grad = spec.grad_dtype.size_bytes();
    let slots = rule.slots(&spec);
    let bytes = |slot: &&Slot| match slot.kind {
        SlotKind::Exact => 4.0,
        _ => numerics.state.size_bytes(256) as f64 / 256.0,
    };
    let state: f64 =
        slots.iter().filter(|slot| slot.shape == SlotShape::Param).map(|slot| bytes(&slot)).sum();
    let is_vector =
        |shape| matches!(shape, SlotShape::Rows | SlotShape::Columns | SlotShape::Blocks(_));
    let has_rows = slots.iter().any(|slot| is_vector(slot.shape));
    let mut read_before = if has_rows { grad as f64 } else { 0.0 };
    if rule.scope() != Scope::Element || around.sums() {
        read_before += (kept + grad) as f64 + state;
    }
    let average = if around.averages_every_step() { 4.0 } else { 0.0 };
    (2 * kept + grads * grad) as f64 + 2.0 * (state + average) + read_before
}

const COST: [&str; 10] = [
    "model",
    "rule",
    "tensors",
    "dispatches",
    "encode us",
    "build ms",
    "state B/param",
    "plain ms",
    "per tensor ms",
    "unfused ms",
];

/// Two tables, so that each fits a terminal: how fast, and at what cost beside what baselines.
pub(crate) fn tables(rows: &[Row]) -> String {
    let speed = print::table(&SPEED, rows.iter().map(Row::speed));
    let cost = print::table(&COST, rows.iter().map(Row::cost));
    format!("{speed}\n{cost}")
}

/// Three digits or so.
fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
