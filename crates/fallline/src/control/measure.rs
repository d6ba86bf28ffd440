//! Measuring the gradients, and deciding by them.

use wgpu::{Buffer, BufferUsages, ComputePass};

use super::{Ground, Written, inputs::StepInputs};
use crate::{
    Dtype, Gpu, Group, LossScaler, Options, Result,
    abi::{Chunk, Decision, MeasureChunk, Norm, Partial, Span},
    chunks::{self, ChunkDispatch},
    kernel::{self, Recipe},
    plan::{self, Dispatch, Tables, bind, part},
    rules::narrow,
};

/// Decisions that are kept for reports: `HISTORY_LEN` of `control/decide.wgsl`.
pub(crate) const HISTORY_LEN: u64 = 64;

/// Chunks of a workgroup: `ROW_CHUNKS` of `control/measure.wgsl`.
pub(crate) const ROW_CHUNKS: usize = 64;

/// The dispatches that measure, and the one that decides.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    options: Options,
    /// Its own where the options name no scaler: a scale of 1.
    scaler: LossScaler,
    /// The last decisions.
    pub(crate) history: Buffer,
    dispatches: Vec<Dispatch>,
    decide: Dispatch,
}

/// What is measured, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) groups: &'a [Group],
    pub(crate) inputs: &'a StepInputs,
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) placements: &'a Buffer,
    pub(crate) decision: &'a Buffer,
}

impl Measure {
    pub(crate) fn new(around: Around<'_>, options: &Options) -> Result<Self> {
        let Around { gpu, groups, .. } = around;
        let scaler = match &options.loss_scaler {
            Some(scaler) => scaler.clone(),
            None => LossScaler::fixed(gpu, 1.0)?,
        };
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
        let history_bytes = HISTORY_LEN * entry_bytes(groups.len());
        let history = gpu.buffer("fallline history", history_bytes, usage)?;
        Self::bound(around, options.clone(), scaler, history)
    }

    /// The same for gradients that lie elsewhere.
    pub(crate) fn rebound(&self, around: Around<'_>) -> Result<Self> {
        let Self { options, scaler, history, .. } = self.clone();
        Self::bound(around, options, scaler, history)
    }

    fn bound(
        around: Around<'_>,
        options: Options,
        scaler: LossScaler,
        history: Buffer,
    ) -> Result<Self> {
        let Around { gpu, groups, inputs, ground, placements, decision } = around;
        let group_of = |tensor: u32| ground.placements[tensor as usize].group as usize;
        let chunk_dispatches = chunk_dispatches(gpu, groups.len(), ground);
        let (rows, spans) = rows(&chunk_dispatches, groups.len(), group_of);
        let partials_len = spans.last().map_or(0, |end| u64::from(*end));
        let partials_bytes = partials_len * size_of::<Partial>() as u64;
        let partials = gpu.buffer("fallline partials", partials_bytes, BufferUsages::STORAGE)?;
        let spans = upload_spans(gpu, groups, &options, &spans)?;

        let chunks = rows.iter().map(Vec::as_slice);
        let chunks = Tables::new(gpu, "fallline measured chunks", BufferUsages::STORAGE, chunks)?;
        let windows: Vec<_> = chunk_dispatches.iter().map(ChunkDispatch::window).collect();
        let windows = Tables::windows(gpu, &windows)?;
        let (input, absent) = inputs.bindings();
        let mut dispatches = Vec::new();
        for (number, dispatch) in chunk_dispatches.iter().enumerate() {
            let grad = FORMATS[dispatch.segment];
            let recipe = Recipe::Measure { grad, ragged: dispatch.ragged };
            let kernel = kernel::kernel(gpu, recipe)?;
            let bytes = &dispatch.param.bytes;
            let bound = [
                absent.clone(),
                chunks.part(number),
                part(ground.buffers[dispatch.param.buffer], bytes.start, bytes.end - bytes.start),
                placements.as_entire_binding(),
                windows.part(number),
                partials.as_entire_binding(),
            ];
            dispatches.push(Dispatch {
                bind_group: bind(gpu, "fallline measure", &kernel, &bound)?,
                workgroups: kernel::fold((rows[number].len() / ROW_CHUNKS) as u64, gpu.limits()),
                kernel,
            });
        }
        let kernel = kernel::kernel(gpu, Recipe::Decide { skip_non_finite: options.skips() })?;
        let buffers = [&spans, &partials, scaler.buffer(), decision, &history];
        let buffers = buffers.map(Buffer::as_entire_binding);
        let bound: Vec<_> = [input].into_iter().chain(buffers).collect();
        let bind_group = bind(gpu, "fallline decide", &kernel, &bound)?;
        let decide = Dispatch { kernel, bind_group, workgroups: (1, 1) };
        Ok(Self { options, scaler, history, dispatches, decide })
    }

    pub(crate) fn dispatches(&self) -> usize {
        self.dispatches.len() + 1
    }

    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, written: &Written) {
        for dispatch in &self.dispatches {
            dispatch.record(pass, &[written.absent]);
        }
        self.decide.record(pass, &[written.input]);
    }
}

/// Bytes of a decision with its norms.
pub(crate) fn entry_bytes(groups: usize) -> u64 {
    (size_of::<Decision>() + (1 + groups) * size_of::<Norm>()) as u64
}

/// The formats of gradients; a gradient's number here stands for the segment in its chunks.
const FORMATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// The number of a gradient's format, which its [`chunks::LentTensor`] has as segment.
pub(crate) fn format_number(dtype: Dtype) -> usize {
    FORMATS.iter().position(|known| *known == dtype).unwrap_or(0)
}

fn chunk_dispatches(gpu: &Gpu, groups: usize, ground: &Ground<'_>) -> Vec<ChunkDispatch> {
    // Filling up the last row of each group needs a row more at most.
    let rows = plan::max_workgroups(gpu.limits()).saturating_sub(groups as u64);
    let max_chunks = (rows * ROW_CHUNKS as u64).max(1);
    chunks::dispatches(&ground.grads, plan::reach(gpu.limits(), max_chunks))
}

/// The chunks of each dispatch in rows of the same group, and where the partials of each group begin,
/// with the end of all.
fn rows(
    dispatches: &[ChunkDispatch],
    groups: usize,
    group_of: impl Fn(u32) -> usize,
) -> (Vec<Vec<MeasureChunk>>, Vec<u32>) {
    let sorted: Vec<Vec<Chunk>> = dispatches
        .iter()
        .map(|dispatch| {
            let mut chunks = dispatch.chunks.clone();
            chunks.sort_by_key(|chunk| group_of(chunk.tensor));
            chunks
        })
        .collect();
    let mut starts = vec![0u32; groups + 1];
    let same = |a: &Chunk, b: &Chunk| group_of(a.tensor) == group_of(b.tensor);
    for part in sorted.iter().flat_map(|chunks| chunks.chunk_by(same)) {
        let group = group_of(part[0].tensor);
        starts[group + 1] += u32::try_from(part.len().div_ceil(ROW_CHUNKS)).unwrap_or(u32::MAX);
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut rows = Vec::new();
    for chunks in &sorted {
        let mut measured = Vec::new();
        for part in chunks.chunk_by(same) {
            let group = group_of(part[0].tensor);
            for row in part.chunks(ROW_CHUNKS) {
                let partial = next[group];
                next[group] += 1;
                measured.extend(row.iter().map(|&Chunk { tensor, first_vec4, len_elems }| {
                    MeasureChunk { tensor, first_vec4, len_elems, partial }
                }));
                let empty = MeasureChunk { len_elems: 0, partial, ..measured[measured.len() - 1] };
                measured.resize(measured.len().next_multiple_of(ROW_CHUNKS), empty);
            }
        }
        rows.push(measured);
    }
    (rows, starts)
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
