//! A row of the result, as JSON has it.

mod tables;

use fallline::{LaneVec4s, Rule, Scope, Slot, SlotKind, SlotShape, TensorSpec};
use serde::Serialize;

pub(super) use self::tables::{digits, tables};
use super::{
    Short,
    measure::{Bench, Paired, Samples},
    models::Model,
};
use crate::{
    around::Around,
    device::AdapterReport,
    precision::Numerics,
    rule::RuleName,
    timing::{median, quantile},
};

/// The version of what `--json` has; it grows when a field is removed or means something else.
pub(super) const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    schema: u32,
    version: &'static str,
    adapter: AdapterReport,
    #[serde(flatten)]
    subject: Subject,
    tensors: usize,
    params: u64,
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
    rounds: Rounds,
}

/// What a row is about: two rows with the same subject can be compared.
#[derive(Debug, Serialize)]
pub(super) struct Subject {
    pub(super) model: &'static str,
    pub(super) rule: String,
    #[serde(flatten)]
    pub(super) numerics: Numerics,
    #[serde(flatten)]
    pub(super) around: Around,
    pub(super) width: f64,
    pub(super) borrowed: bool,
    /// Of a lane of an update.
    pub(super) lane_vec4s: u32,
}

impl Subject {
    /// This rule over this model, with every option at its default.
    pub(super) fn plain(model: &'static str, rule: &str) -> Self {
        Self {
            model,
            rule: rule.to_owned(),
            numerics: Numerics::default(),
            around: Around::default().with_defaults(),
            width: 1.0,
            borrowed: false,
            lane_vec4s: LaneVec4s::default().count(),
        }
    }
}

/// The value of each round, of which the row has the median under the same name.
#[derive(Debug, Serialize)]
struct Rounds {
    ms_per_step: Vec<f64>,
    roofline: Vec<f64>,
    copy_gb_per_s: Vec<f64>,
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
        let copy: Vec<f64> = samples.copy.iter().map(|s| bench.copy.gb_per_s(*s)).collect();
        let step_s = median(&samples.step);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            adapter: AdapterReport::new(&bench.gpu.adapter_info()),
            subject: bench.subject((model, name, width)),
            tensors: specs.len(),
            params,
            steps: samples.step.len(),
            ms_per_step: step_s * 1e3,
            ms_per_step_min: quantile(&samples.step, 0.0) * 1e3,
            ms_per_step_max: quantile(&samples.step, 1.0) * 1e3,
            ns_per_param: step_s * 1e9 / params as f64,
            bytes_per_param,
            gb_per_s: bytes_per_param * params as f64 / step_s / 1e9,
            copy_gb_per_s: median(&copy),
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
            rounds: Rounds {
                ms_per_step: samples.step.iter().map(|seconds| seconds * 1e3).collect(),
                copy_gb_per_s: copy,
                roofline: ratios,
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
}

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
