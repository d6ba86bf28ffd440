//! Measuring the gradients, and deciding by them.

use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

use super::{
    Written,
    inputs::StepInputs,
    rows::{Measured, RowDispatch, RowPieces, RowWindow},
};
use crate::{
    Gpu, Group, LossScaler, Options, Result,
    abi::{Decision, Norm, Partial, Span},
    kernel::{self, Recipe},
    plan::{self, BindGroups, Dispatch, PartDispatch, bind, part},
    rules::narrow,
    tiles::Bound,
};

/// Decisions that are kept for reports: `HISTORY_LEN` of `control/decide.wgsl`.
pub(crate) const HISTORY_LEN: u64 = 64;

/// What measures and decides, wherever the gradients lie.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    /// Its own where the options name no scaler: a scale of 1.
    scaler: LossScaler,
    /// The last decisions.
    pub(crate) history: Buffer,
    /// The rows of all gradients.
    pub(crate) rows: RowPieces,
    partials: Buffer,
    spans: Buffer,
    decision: Buffer,
    decide: Dispatch,
}

impl Measure {
    pub(crate) fn new(
        gpu: &Gpu,
        groups: &[Group],
        options: &Options,
        rows: RowPieces,
        inputs: &StepInputs,
        decision: &Buffer,
    ) -> Result<Self> {
        let scaler = match &options.loss_scaler {
            Some(scaler) => scaler.clone(),
            None => LossScaler::fixed(gpu, 1.0)?,
        };
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let history_bytes = HISTORY_LEN * entry_bytes(groups.len());
        let history = gpu.buffer("fallline history", history_bytes, usage)?;
        let partials_len = rows.starts.last().map_or(0, |end| u64::from(*end));
        let partials_bytes = partials_len * size_of::<Partial>() as u64;
        let partials = gpu.buffer("fallline partials", partials_bytes, BufferUsages::STORAGE)?;
        let spans = upload_spans(gpu, groups, options, &rows.starts)?;
        let kernel = kernel::kernel(gpu, Recipe::Decide { skip_non_finite: options.skips() })?;
        let buffers = [&spans, &partials, scaler.buffer(), decision, &history];
        let bind_group = bind_decide(gpu, &kernel, inputs, buffers)?;
        let decide = Dispatch { kernel, bind_group, workgroups: [1, 1, 1] };
        let decision = decision.clone();
        Ok(Self { scaler, history, rows, partials, spans, decision, decide })
    }

    /// The rows of these gradients, for an optimizer that measures.
    pub(crate) fn rows(
        gpu: &Gpu,
        groups: &[Group],
        options: &Options,
        measured: &[Measured],
    ) -> Option<RowPieces> {
        let limits = gpu.limits();
        let (bytes, workgroups) = (plan::max_binding_bytes(limits), plan::max_workgroups(limits));
        let rows = || RowPieces::new(measured, groups.len(), bytes, workgroups);
        options.measures(groups).then(rows)
    }

    /// The same with other inputs.
    pub(crate) fn with_inputs(&self, gpu: &Gpu, inputs: &StepInputs) -> Result<Self> {
        let Self { spans, partials, scaler, decision, history, decide, .. } = self;
        let buffers = [spans, partials, scaler.buffer(), decision, history];
        let bind_group = bind_decide(gpu, &decide.kernel, inputs, buffers)?;
        let decide = Dispatch { bind_group, ..decide.clone() };
        Ok(Self { decide, ..self.clone() })
    }

    /// The dispatches over these rows, which lie at these offsets of a step's places.
    pub(crate) fn bind_rows<'b>(
        &self,
        gpu: &Gpu,
        inputs: &StepInputs,
        (rows, offsets): (&[RowDispatch], &[u32]),
        buffers: impl Fn(usize) -> Option<&'b Buffer>,
        (bind_groups, step): (&mut BindGroups<RowWindow>, u64),
    ) -> Result<Vec<PartDispatch>> {
        let mut dispatches = Vec::with_capacity(rows.len());
        for (dispatch, &offset) in rows.iter().zip(offsets) {
            let RowWindow { dtype: grad, ragged, grad: bound } = &dispatch.window;
            let kernel = kernel::kernel(gpu, Recipe::Measure { grad: *grad, ragged: *ragged })?;
            let bind_group = bind_groups.get(&dispatch.window, step, || {
                // Of no gradient, anything will do: nothing of it counts.
                let lent = bound.as_ref().and_then(|bound| Some((buffers(bound.buffer)?, bound)));
                let (buffer, bytes) = match lent {
                    Some((buffer, Bound { bytes, .. })) => (buffer, bytes.clone()),
                    None => (&self.spans, 0..16),
                };
                let (_, absent) = inputs.bindings();
                let grad = part(buffer, bytes.start, bytes.end - bytes.start);
                let bound = [absent, inputs.places(), grad, self.partials.as_entire_binding()];
                bind(gpu, "fallline measure", &kernel, &bound)
            })?;
            let (x, y) = kernel::fold(dispatch.len().into(), gpu.limits());
            let dispatch = Dispatch { kernel, bind_group, workgroups: [x, y, 1] };
            dispatches.push(PartDispatch { dispatch, offset });
        }
        Ok(dispatches)
    }

    pub(crate) fn record(
        &self,
        pass: &mut ComputePass<'_>,
        written: &Written,
        rows: &[PartDispatch],
    ) {
        for PartDispatch { dispatch, offset } in rows {
            dispatch.record(pass, &[written.absent, written.places + offset]);
        }
        self.decide.record(pass, &[written.input]);
    }
}

fn bind_decide(
    gpu: &Gpu,
    kernel: &kernel::Kernel,
    inputs: &StepInputs,
    buffers: [&Buffer; 5],
) -> Result<BindGroup> {
    let (input, _) = inputs.bindings();
    let buffers = buffers.map(Buffer::as_entire_binding);
    let bound: Vec<_> = [input].into_iter().chain(buffers).collect();
    bind(gpu, "fallline decide", kernel, &bound)
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
        bound_exponent: group.rule.definition().grad_bound_exponent().unwrap_or(i32::MAX),
    };
    let spans: Vec<Span> =
        std::iter::once(all).chain(groups.iter().zip(starts.windows(2)).map(of_group)).collect();
    gpu.filled("fallline spans", BufferUsages::STORAGE, &spans)
}
