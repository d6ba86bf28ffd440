//! Which files make up a kernel, and what it binds.

use fallline_shaders::{
    Source, blocks, codecs, control, formats, frames, functions, packing, precision, probes, rules,
    structs, tables,
};
use wgpu::BindingType;

use super::{Frame, KernelKey, Kind, Margins, Recipe, Stage, TableIn, Update};
use crate::{ComputeKernel, Dtype, Precision, StateFormat, formats::Formats};

const UNIFORM: BindingType = ComputeKernel::UNIFORM;
const UNIFORM_AT: BindingType = ComputeKernel::UNIFORM_AT;
const READ: BindingType = ComputeKernel::READ;
const READ_AT: BindingType = ComputeKernel::READ_AT;
const WRITE: BindingType = ComputeKernel::WRITE;

impl Recipe {
    /// Those of a device that [rounds on the bits](crate::Gpu::round_on_bits), or of any other.
    pub(crate) fn sources_on(&self, rounds_on_bits: bool) -> Vec<Source> {
        let mut sources = self.sources();
        if rounds_on_bits {
            sources.iter_mut().for_each(|source| *source = on_bits(*source));
        }
        sources
    }

    /// The files that make up the kernel; the one with the entry point first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        match self {
            Recipe::Update(update) => update_sources(update),
            Recipe::Measure { grad, ragged } => {
                let mut sources = vec![
                    control::MEASURE,
                    grad_packing(*grad, *ragged),
                    grad_codec(*grad),
                    packing::HALVES,
                    structs::PARTIAL,
                    structs::PIECE,
                    tables::PIECES,
                ];
                if *ragged {
                    sources.push(packing::GRAD_OWN);
                }
                sources.extend_from_slice(format(*grad));
                sources
            }
            Recipe::Decide { .. } => vec![
                control::DECIDE,
                structs::STEP_INPUT,
                structs::SPAN,
                structs::TOTAL,
                structs::LOSS_SCALE,
                structs::DECISION,
                functions::NORM,
            ],
            Recipe::Advance { key, .. } => {
                let mut sources = control_sources(control::ADVANCE, key);
                sources.extend([structs::STEP_INPUT, structs::DECISION]);
                sources
            }
            Recipe::Enlist { .. } => vec![
                control::ENLIST,
                structs::TENSOR,
                structs::PLACEMENT,
                structs::GROUP,
                structs::STEP_INPUT,
            ],
            Recipe::Finish { key, .. } => {
                let mut sources = control_sources(control::FINISH, key);
                sources.push(steering_source(key));
                sources
            }
            Recipe::Gather { key, .. } => {
                let mut sources = control_sources(control::GATHER, key);
                if key.joint.is_empty() {
                    sources.push(functions::KEEPS_NOTHING_JOINT);
                }
                sources
            }
            Recipe::Vectors { key, .. } => {
                let mut sources = control_sources(control::VECTORS, key);
                sources.push(structs::MATRICES);
                if !key.has_columns() {
                    sources.push(functions::NO_COLUMNS);
                }
                sources
            }
            Recipe::Means { key, .. } => {
                let mut sources = control_sources(control::MEANS, key);
                sources.push(structs::MATRICES);
                sources
            }
            Recipe::TensorNorms { .. } => vec![
                control::TENSOR_NORMS,
                structs::TENSOR,
                structs::PLACEMENT,
                structs::STEP_INPUT,
                structs::DECISION,
                structs::TOTAL,
                structs::MONITORED,
                functions::NORM,
            ],
            Recipe::GroupNorms { .. } => vec![
                control::GROUP_NORMS,
                structs::PLACEMENT,
                structs::STEP_INPUT,
                structs::DECISION,
                structs::MONITORED,
            ],
            Recipe::Margins(margins) => margins_sources(margins),
            Recipe::Total => {
                vec![control::TOTAL, structs::PARTIAL, structs::SPAN, structs::TOTAL]
            }
            Recipe::Expand => vec![control::EXPAND, structs::RUN],
        }
    }

    /// What it binds, as 0, 1, 2, …
    pub(crate) fn bindings(&self) -> Vec<BindingType> {
        match self {
            Recipe::Update(update) => {
                let tensors = tensors_binding(update.tensors_in);
                let (tiles, last) = match update.frame {
                    Frame::Arena => (READ, UNIFORM),
                    Frame::Borrowed { runs_in: TableIn::Uniform, .. } => (READ_AT, UNIFORM_AT),
                    Frame::Borrowed { runs_in: TableIn::Storage, .. } => (READ_AT, READ_AT),
                };
                let mut bindings =
                    vec![tensors, tiles, WRITE, WRITE, WRITE, WRITE, UNIFORM_AT, last];
                let sums = matches!(update.stage, Stage::Reduce | Stage::MonitoredUpdate);
                if sums || update.key.has_vectors() {
                    bindings.push(WRITE);
                }
                bindings
            }
            Recipe::Measure { .. } => vec![READ_AT, READ_AT, WRITE, WRITE],
            Recipe::Total => vec![READ, READ, WRITE],
            Recipe::Decide { .. } => vec![READ_AT, READ, READ_AT, WRITE, WRITE, WRITE, READ],
            Recipe::Advance { .. } => {
                vec![READ_AT, READ_AT, READ_AT, READ, WRITE, WRITE, WRITE, WRITE]
            }
            Recipe::TensorNorms { .. } => vec![READ_AT, READ, READ, READ, READ, WRITE, WRITE],
            Recipe::GroupNorms { .. } => vec![READ_AT, READ, READ, READ, WRITE],
            Recipe::Enlist { .. } => vec![READ_AT, READ_AT, READ_AT, READ, READ, WRITE],
            Recipe::Finish { .. } => vec![READ_AT, READ, WRITE, WRITE, READ],
            Recipe::Gather { .. } => vec![READ_AT, READ, READ, WRITE, WRITE],
            Recipe::Margins(margins) => {
                vec![tensors_binding(margins.tensors_in), READ_AT, WRITE, READ, WRITE, UNIFORM_AT]
            }
            Recipe::Vectors { .. } => vec![READ_AT, READ, READ, READ, READ, WRITE, READ],
            Recipe::Means { .. } => vec![READ_AT, READ, READ, WRITE, READ],
            Recipe::Expand => vec![READ_AT, WRITE],
        }
    }
}

/// A kernel of a rule between those of elements: its file, the rule, what is known of tensors and groups.
fn control_sources(entry: Source, key: &KernelKey) -> Vec<Source> {
    let mut sources = vec![entry];
    sources.extend(rule_sources(key));
    sources.extend([structs::SLOTS, structs::PLACEMENT, structs::GROUP]);
    sources
}

/// A rule, and what any rule may use.
fn rule_sources(key: &KernelKey) -> Vec<Source> {
    let mut sources = vec![key.rule];
    sources.extend(rules::COMMON);
    if !key.keeps() {
        sources.push(functions::KEEPS_NOTHING);
    }
    if key.steering.sums() && !key.has_terms() {
        sources.push(functions::NO_TERMS);
    }
    sources.push(match key.steering.cautious_decay {
        true => functions::CAUTIOUS_DECAY,
        false => functions::DECAY,
    });
    sources
}

/// What becomes of its direction.
fn steering_source(key: &KernelKey) -> Source {
    match key.kind == Kind::Rule && key.steering.sums() {
        true => functions::STEERING,
        false => functions::AS_PROPOSED,
    }
}

fn margins_sources(margins: &Margins) -> Vec<Source> {
    let Margins { key, grad, ragged, tensors_in, .. } = margins;
    let mut sources = match key.kind {
        Kind::Traffic => vec![probes::MARGINS, structs::TENSOR],
        _ => {
            let mut sources = vec![control::MARGINS, functions::GRADIENT, structs::SLOTS];
            sources.extend(rule_sources(key));
            sources
        }
    };
    sources.extend([
        structs::PIECE,
        tables::PIECES,
        structs::MATRICES,
        structs::PLACE,
        tensors_table(*tensors_in),
        tables::HYPER,
        grad_packing(*grad, *ragged),
        packing::HALVES,
    ]);
    let with_codec = key.kind != Kind::Traffic;
    sources.extend(with_codec.then(|| grad_codec(*grad)));
    if *ragged {
        sources.push(packing::GRAD_OWN);
    }
    if with_codec {
        sources.extend_from_slice(format(*grad));
    }
    sources
}

fn tensors_binding(tensors_in: TableIn) -> BindingType {
    match tensors_in {
        TableIn::Uniform => UNIFORM,
        TableIn::Storage => READ,
    }
}

fn tensors_table(tensors_in: TableIn) -> Source {
    match tensors_in {
        TableIn::Uniform => tables::TENSORS_UNIFORM,
        TableIn::Storage => tables::TENSORS_STORAGE,
    }
}

fn update_sources(update: &Update) -> Vec<Source> {
    if update.key.kind == Kind::Traffic {
        return traffic_sources(update);
    }
    let Formats { param, grad, precision, state } = update.formats;
    let mut sources = frame_sources(update);
    sources.extend([
        match param {
            Dtype::F32 => codecs::PARAM_F32,
            Dtype::F16 => codecs::PARAM_F16,
            Dtype::Bf16 => codecs::PARAM_BF16,
        },
        grad_codec(grad),
        match precision {
            Precision::Nearest => precision::NEAREST,
            Precision::Stochastic => precision::STOCHASTIC,
            Precision::Master => precision::MASTER,
            Precision::Remainder => precision::REMAINDER,
            Precision::Remainder8 => precision::REMAINDER8,
        },
    ]);
    // The other kinds take gradients as they are, or have none.
    if matches!(update.key.kind, Kind::Rule | Kind::Exchange) {
        sources.push(functions::GRADIENT);
    }
    if matches!(precision, Precision::Remainder | Precision::Remainder8) {
        sources.push(functions::REMAINDER);
    }
    let is_stochastic = matches!(precision, Precision::Stochastic | Precision::Remainder8);
    if is_stochastic || state == StateFormat::Bf16 {
        sources.push(functions::NOISE);
    }
    sources.extend(state_sources(state));
    if sources.contains(&packing::SLOT_8) || precision == Precision::Remainder8 {
        sources.push(packing::BYTES);
    }
    let is_used = |dtype| param == dtype || grad == dtype;
    for dtype in [Dtype::F16, Dtype::Bf16] {
        if is_used(dtype) || (dtype == Dtype::Bf16 && state == StateFormat::Bf16) {
            sources.extend_from_slice(format(dtype));
        }
    }
    sources
}

/// What a kernel has in any formats: frame, rule, the packing of parameter and gradient.
fn frame_sources(update: &Update) -> Vec<Source> {
    let Formats { param, grad, .. } = update.formats;
    let tensors = tensors_table(update.tensors_in);
    let entry = match update.stage {
        Stage::Update if update.key.kind == Kind::Exchange => frames::EXCHANGE,
        Stage::Update | Stage::MonitoredUpdate => frames::UPDATE,
        Stage::Estimate { .. } => frames::ESTIMATE,
        Stage::Reduce if update.key.kind == Kind::Traffic => probes::REDUCE,
        Stage::Reduce => frames::REDUCE,
    };
    let mut sources = match update.frame {
        Frame::Arena => {
            let packing = [param_packing(param, false), grad_packing(grad, false)];
            let mut sources = vec![entry, frames::ROLES, frames::ARENA, structs::WINDOW];
            sources.extend(packing);
            sources
        }
        Frame::Borrowed { ragged, shared, runs_in } => {
            // Codes of two sizes in one binding: only single words can be both.
            let mixed = shared && param.size_bytes() != grad.size_bytes();
            let scalar = ragged || mixed;
            let mut sources = vec![entry, frames::ROLES, frames::BORROWED, structs::RUN];
            sources.push(match runs_in {
                TableIn::Uniform => tables::RUNS_UNIFORM,
                TableIn::Storage => tables::RUNS_STORAGE,
            });
            sources.push(param_packing(param, scalar));
            if shared && !mixed {
                sources.push(packing::GRAD_SHARED);
            } else {
                sources.push(grad_packing(grad, scalar));
            }
            if scalar && (mixed || !shared) {
                sources.push(if shared { packing::GRAD_IN_PARAM } else { packing::GRAD_OWN });
            }
            sources
        }
    };
    sources.extend([
        packing::HALVES,
        tensors,
        structs::PLACE,
        structs::SLOTS,
        functions::SLOT_WORDS,
        tables::HYPER,
    ]);
    if update.key.has_vectors() {
        sources.push(tables::VECTORS);
    } else if matches!(update.stage, Stage::Reduce | Stage::MonitoredUpdate) {
        sources.extend([tables::SUMS, tables::NO_VECTORS]);
    } else {
        sources.push(tables::NO_VECTORS);
    }
    sources.push(match update.key.after.slots() {
        0 => functions::NOTHING_AFTER,
        _ => functions::AFTER,
    });
    sources.push(steering_source(&update.key));
    if entry == frames::UPDATE {
        sources.push(match update.stage {
            Stage::MonitoredUpdate => functions::UPDATE_SUMS,
            _ => functions::NO_UPDATE_SUMS,
        });
    }
    if entry == frames::REDUCE {
        sources.push(match update.key.steering.sums() {
            true => functions::STEERING_SUMS,
            false => functions::RULE_SUMS,
        });
    }
    sources.extend(match update.key.kind {
        Kind::Rule => rule_sources(&update.key),
        Kind::Exchange => {
            let mut sources = rule_sources(&update.key);
            sources.push(match update.key.after.averages {
                true => functions::EVALUATED_AVERAGE,
                false => functions::EVALUATED_BY_RULE,
            });
            sources
        }
        Kind::Accumulate | Kind::Quantize | Kind::Traffic => {
            vec![update.key.rule, structs::TENSOR, structs::PROPOSAL]
        }
    });
    sources
}

/// The kernel that moves words as they are.
fn traffic_sources(update: &Update) -> Vec<Source> {
    let Formats { precision, state, .. } = update.formats;
    let mut sources = frame_sources(update);
    for source in &mut sources {
        *source = match *source {
            packing::PARAM_16 => probes::PARAM_16,
            packing::GRAD_16 => probes::GRAD_16,
            other => other,
        };
    }
    match precision.size_bytes() {
        0 => sources.extend([precision::NEAREST, codecs::PARAM_F32]),
        1 => sources.push(probes::MASTER_1),
        2 => sources.push(probes::MASTER_2),
        _ => sources.push(probes::MASTER_4),
    }
    sources.extend_from_slice(match state {
        StateFormat::F32 => &[codecs::STATE_F32, packing::SLOT_VEC4],
        StateFormat::Bf16 => &[probes::STATE_16, packing::STATE_16, packing::SLOT_VEC4],
        _ => &[probes::STATE_BLOCKS, packing::STATE_CODES],
    });
    sources
}

fn state_sources(state: StateFormat) -> Vec<Source> {
    let (codec, format, code) = match state {
        StateFormat::F32 => return vec![codecs::STATE_F32, packing::SLOT_VEC4],
        StateFormat::Bf16 => {
            return vec![codecs::STATE_BF16, packing::STATE_16, packing::SLOT_VEC4];
        }
        StateFormat::Int8 => (codecs::STATE_INT8, formats::DYNAMIC, packing::SLOT_8),
        StateFormat::Int4 => (codecs::STATE_INT4, formats::NIBBLE, packing::SLOT_4),
        StateFormat::Fp8 => (codecs::STATE_FP8, formats::E4M3, packing::SLOT_8),
        StateFormat::Companded => (codecs::STATE_COMPANDED, formats::COMPANDED, packing::SLOT_8),
    };
    let mut sources = vec![codec, format, code, packing::SLOT_BLOCKS, packing::STATE_CODES];
    if state == StateFormat::Fp8 {
        sources.push(formats::E4M3_NEAREST);
    }
    sources.extend_from_slice(match state {
        StateFormat::Int4 => &[blocks::ELEMS_128, blocks::LANES_32],
        StateFormat::Companded => &[blocks::ELEMS_32],
        _ => &[blocks::ELEMS_256, blocks::LANES_32],
    });
    sources
}

fn param_packing(dtype: Dtype, scalar: bool) -> Source {
    match (dtype.size_bytes(), scalar) {
        (4, false) => packing::PARAM_32,
        (4, true) => packing::PARAM_32_SCALAR,
        (_, false) => packing::PARAM_16,
        (_, true) => packing::PARAM_16_SCALAR,
    }
}

fn grad_packing(dtype: Dtype, scalar: bool) -> Source {
    match (dtype.size_bytes(), scalar) {
        (4, false) => packing::GRAD_32,
        (4, true) => packing::GRAD_32_SCALAR,
        (_, false) => packing::GRAD_16,
        (_, true) => packing::GRAD_16_SCALAR,
    }
}

fn grad_codec(dtype: Dtype) -> Source {
    match dtype {
        Dtype::F32 => codecs::GRAD_F32,
        Dtype::F16 => codecs::GRAD_F16,
        Dtype::Bf16 => codecs::GRAD_BF16,
    }
}

const fn format(dtype: Dtype) -> &'static [Source] {
    match dtype {
        Dtype::F32 => &[],
        Dtype::F16 => &[formats::F16, formats::F16_NEAREST],
        Dtype::Bf16 => &[formats::BF16],
    }
}

/// The same, where sums of the device are not relied upon to be rounded to nearest.
fn on_bits(source: Source) -> Source {
    match source {
        formats::F16_NEAREST => formats::F16_NEAREST_ON_BITS,
        formats::E4M3_NEAREST => formats::E4M3_NEAREST_ON_BITS,
        other => other,
    }
}
