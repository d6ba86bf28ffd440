//! Measuring the gradients, and deciding by them.

use wgpu::{BindingResource, Buffer, BufferUsages};

use super::{RowPieces, Written, inputs::StepInputs, monitor::Entries};
use crate::{
    Gpu, Group, LossScaler, Options, Result,
    abi::{Decision, Norm, Partial, Span, Total},
    compile,
    dispatch::{Dispatch, PartDispatch, Pass, bind},
    kernel::{self, Recipe},
    rules::narrow,
};

/// Decisions that are kept for reports: `HISTORY_LEN` of `control/decide.wgsl`.
pub(crate) const HISTORY_LEN: u64 = 64;

/// What measures and decides, wherever the gradients lie.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    /// Its own where the options name no scaler: a scale of 1.
    scaler: LossScaler,
    /// Whether every step does, or only those that are monitored.
    pub(crate) always: bool,
    /// The last decisions, and what the last monitored steps told.
    pub(crate) history: Buffer,
    /// Where this lies, if any are monitored.
    pub(crate) entries: Option<Entries>,
    pub(crate) partials: Buffer,
    spans: Buffer,
    decision: Buffer,
    /// Exact sums of the partials of each group.
    pub(crate) totals: Buffer,
    total: Dispatch,
    /// By these sums, and by those of the outside.
    decide: [Dispatch; 2],
}

impl Measure {
    pub(crate) fn new(
        gpu: &Gpu,
        groups: &[Group],
        options: &Options,
        rows: &RowPieces,
        inputs: &StepInputs,
        decision: &Buffer,
    ) -> Result<Self> {
        let starts = &rows.starts;
        let scaler = match &options.loss_scaler {
            Some(scaler) => scaler.clone(),
            None => LossScaler::fixed(gpu, 1.0)?,
        };
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let decisions_bytes = HISTORY_LEN * entry_bytes(groups.len());
        let counts = (groups.len(), rows.partials.len());
        let entries = options.monitor.map(|m| Entries::new(gpu, m, counts, decisions_bytes));
        let entries = entries.transpose()?;
        let behind = entries.map(|entries| entries.offset + entries.size_bytes());
        let history_bytes = behind.unwrap_or(decisions_bytes);
        let history = gpu.buffer("fallline history", history_bytes, usage)?;
        let partials_len = starts.last().map_or(0, |end| u64::from(*end));
        let partials_bytes = partials_len * size_of::<Partial>() as u64;
        let partials = gpu.buffer("fallline partials", partials_bytes, BufferUsages::STORAGE)?;
        let spans = upload_spans(gpu, groups, options, starts)?;
        let totals_bytes = groups.len().max(1) * size_of::<Total>();
        let totals = gpu.buffer("fallline totals", totals_bytes as u64, usage)?;
        let kernel = compile::kernel(gpu, Recipe::Total)?;
        let bound = [&spans, &partials, &totals].map(Buffer::as_entire_binding);
        let bind_group = bind(gpu, "fallline total", &kernel, &bound)?;
        let (x, y) = kernel::fold(groups.len() as u64, gpu.limits());
        let total = Dispatch { kernel, bind_group, workgroups: [x, y, 1] };
        let kernel = compile::kernel(gpu, Recipe::Decide { skip_non_finite: options.skips() })?;
        let buffers = [&spans, &totals, scaler.buffer(), decision, &history];
        let decide = decide(gpu, &kernel, inputs, buffers)?;
        let decision = decision.clone();
        let always = options.always_measures(groups);
        Ok(Self {
            scaler,
            always,
            history,
            entries,
            partials,
            spans,
            decision,
            totals,
            total,
            decide,
        })
    }

    /// The same with other inputs.
    pub(crate) fn with_inputs(&self, gpu: &Gpu, inputs: &StepInputs) -> Result<Self> {
        let Self { spans, totals, scaler, decision, history, .. } = self;
        let buffers = [spans, totals, scaler.buffer(), decision, history];
        let decide = decide(gpu, &self.decide[0].kernel, inputs, buffers)?;
        Ok(Self { decide, ..self.clone() })
    }

    /// The loss scale.
    pub(crate) fn scaler(&self) -> &LossScaler {
        &self.scaler
    }

    /// Whether this step does.
    pub(crate) fn is_in(&self, written: &Written) -> bool {
        self.always || written.is_monitored
    }

    pub(crate) fn record(&self, pass: &mut dyn Pass, written: &Written, rows: &[PartDispatch]) {
        for PartDispatch { dispatch, offset } in rows.iter().filter(|rows| !super::is_margins(rows))
        {
            dispatch.record(pass, &[written.absent, written.places + offset]);
        }
        self.total.record(pass, &[]);
    }

    pub(crate) fn record_decide(&self, pass: &mut dyn Pass, written: &Written, outside: bool) {
        let totals = if outside { written.totals } else { 0 };
        self.decide[usize::from(outside)].record(pass, &[written.input, totals]);
    }
}

/// By sums of these buffers, and by those of the outside.
fn decide(
    gpu: &Gpu,
    kernel: &kernel::Kernel,
    inputs: &StepInputs,
    [spans, totals, scale, decision, history]: [&Buffer; 5],
) -> Result<[Dispatch; 2]> {
    let (input, _) = inputs.bindings();
    let dispatch = |sums: BindingResource<'_>| {
        let entire = Buffer::as_entire_binding;
        let bound = [
            input.clone(),
            entire(spans),
            sums,
            entire(scale),
            entire(decision),
            entire(history),
            entire(totals),
        ];
        let bind_group = bind(gpu, "fallline decide", kernel, &bound)?;
        Ok(Dispatch { kernel: kernel.clone(), bind_group, workgroups: [1, 1, 1] })
    };
    Ok([dispatch(totals.as_entire_binding())?, dispatch(inputs.totals())?])
}

/// Bytes of a decision with its norms.
pub(crate) fn entry_bytes(groups: usize) -> u64 {
    (size_of::<Decision>() + (1 + groups) * size_of::<Norm>()) as u64
}

/// The partials of all tensors first, then those of each group, with their limits.
fn upload_spans(gpu: &Gpu, groups: &[Group], options: &Options, starts: &[u32]) -> Result<Buffer> {
    let limit =
        |max_norm: Option<f64>| max_norm.map_or(f32::MAX, |norm| narrow(norm).min(f32::MAX));
    let all = Span {
        first: 0,
        end: starts[starts.len() - 1],
        max_norm: limit(options.max_norm),
        own: 1,
        bound_exponent: i32::MAX,
    };
    let of_group = |(group, ends): (&Group, &[u32])| Span {
        first: ends[0],
        end: ends[1],
        max_norm: limit(group.max_norm),
        own: u32::from(group.max_norm.is_some()),
        bound_exponent: group.rule.grad_bound_exponent().unwrap_or(i32::MAX),
    };
    let spans: Vec<Span> =
        std::iter::once(all).chain(groups.iter().zip(starts.windows(2)).map(of_group)).collect();
    gpu.filled("fallline spans", BufferUsages::STORAGE, &spans)
}
