//! Which kernels there are, and from a rule and formats to the text, the constants and the bindings of one.

mod around;
mod check;
mod constants;
mod outline;
mod page;
#[cfg(test)]
mod recipes;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use fallline_shaders::{Source, control, probes};
use wgpu::{BindGroupLayout, ComputePipeline};

pub(crate) use around::{After, Steering};
pub(crate) use check::check as check_rule;
pub(crate) use constants::{fold, frame_size, grid, row_workgroups, workgroup_size};
pub use page::{KernelPlaces, KernelStage, kernel_wgsl};

use crate::{
    Dtype, Group, LaneVec4s, Scope, Slot, SlotShape, StateFormat, TensorSpec, abi,
    formats::Formats,
    layout::{SUM_TILES, TILE_ELEMS},
    rules::Rule,
    slot,
};

/// Tensors whose records fit the uniform buffer of `tables/tensors_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_TENSORS: usize = 1024;

/// Runs that fit the uniform buffer of `tables/runs_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_RUNS: usize = 2048;

/// Bytes of that buffer.
pub(crate) const UNIFORM_RUNS_BYTES: u64 = (MAX_UNIFORM_RUNS * size_of::<abi::Run>()) as u64;

/// Sets of hyperparameters that a kernel can tell apart: the length of `of_groups` in `tables/hyper.wgsl`.
pub(crate) const MAX_HYPERS: usize = 512;

/// Bytes of that buffer.
pub(crate) const HYPERS_BYTES: u64 =
    (size_of::<abi::Hypers>() + MAX_HYPERS * size_of::<abi::Hyper>()) as u64;

/// Bytes of what is summed over a tile.
pub(crate) const SUM_BYTES: u64 = 16;

/// A kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recipe {
    /// Updates tensors, or adds up gradients.
    Update(Update),
    /// `control/measure.wgsl` for gradients in this format.
    Measure {
        grad: Dtype,
        /// Single elements are touched, not whole vec4s.
        ragged: bool,
    },
    /// `control/total.wgsl`
    Total,
    /// `control/decide.wgsl`
    Decide { skip_non_finite: bool },
    /// `control/advance.wgsl` for one rule
    Advance {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
        /// Whether it counts steps, or tells what may be evaluated.
        counts: bool,
    },
    /// `control/enlist.wgsl` for tensors with at least `from_step` steps
    Enlist { from_step: u32 },
    /// `control/finish.wgsl` for one rule
    Finish {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
        /// Of tensors with many tiles, or of the others.
        large: bool,
    },
    /// `control/gather.wgsl` for the rule of a family of groups
    Gather {
        /// The rule, which is that of this group.
        key: KernelKey,
        group: u32,
    },
    /// `control/tensor_norms.wgsl`
    TensorNorms { per_tensor: bool },
    /// `control/group_norms.wgsl`
    GroupNorms { per_tensor: bool },
    /// `control/margins.wgsl` for one rule
    Margins(Margins),
    /// `control/vectors.wgsl` for one rule
    Vectors {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
    },
    /// `control/means.wgsl` for one rule
    Means {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
    },
    /// `control/expand.wgsl`
    Expand,
}

/// A kernel that sums gradients over rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Margins {
    pub(crate) key: KernelKey,
    pub(crate) grad: Dtype,
    /// Single elements are touched, not whole vec4s.
    pub(crate) ragged: bool,
    pub(crate) tensors_in: TableIn,
    pub(crate) clip_value: bool,
    /// See [`vectors::lane_vec4s`](crate::vectors::lane_vec4s).
    pub(crate) lane_vec4s: u8,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
    pub(crate) recipe: Arc<Recipe>,
}

/// Who owns parameters and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    Arena,
    Borrowed {
        /// Single elements are touched, not whole vec4s.
        ragged: bool,
        /// One binding serves parameters and gradients.
        shared: bool,
        /// Where the runs lie.
        runs_in: TableIn,
    },
}

/// What a kernel of a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Sums what the rule wants summed over a tensor.
    Reduce,
    /// Updates parameter and state.
    Update,
    /// Does that, and sums how far parameters go and how large they were.
    MonitoredUpdate,
    /// Outside of a step: takes an estimate of the Hessian's diagonal, or of values to be squared.
    Estimate { squares: bool },
}

/// Which way [`KernelKey::quantize`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBlocks,
    ToValues,
}

/// What a kernel of a frame computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A step of a rule.
    Rule,
    /// Gradients are added to gradients.
    Accumulate,
    /// Values become blocks of codes, or blocks become values.
    Quantize,
    /// Nothing: words are moved as they are.
    Traffic,
    /// Parameters give way to what they are evaluated at, or come back.
    Exchange,
}

/// What makes the kernel of one rule differ from another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelKey {
    pub(crate) kind: Kind,
    pub(crate) rule: Source,
    /// Its `override` constants.
    pub(crate) switches: Vec<(&'static str, u8)>,
    /// What it keeps for each element.
    pub(crate) slots: Vec<Slot>,
    /// What it keeps for each tensor, whether that goes on in steps without gradient, and what it keeps in common.
    pub(crate) kept: Vec<Slot>,
    pub(crate) keeps_without_grad: bool,
    pub(crate) joint: Vec<Slot>,
    /// What it keeps for rows and columns, or blocks.
    pub(crate) vectors: Vec<Slot>,
    /// Of these, whether rows are multiples of four long, and whether the tensor is one matrix.
    pub(crate) whole_rows: bool,
    pub(crate) one_matrix: bool,
    pub(crate) scope: Scope,
    /// The slots that an estimate of the Hessian's diagonal changes: bit n for slot n.
    pub(crate) estimated: u32,
    /// What comes after its updates.
    pub(crate) after: After,
    /// What becomes of its direction.
    pub(crate) steering: Steering,
    /// Whether its WGSL says where parameters are evaluated.
    pub(crate) evaluates: bool,
}

impl Margins {
    /// The kernel that loads what this one loads, and sums nothing.
    pub(crate) fn traffic(&self) -> Self {
        Self { key: self.key.traffic(), lane_vec4s: 0, ..self.clone() }
    }
}

impl KernelKey {
    /// The rule of a group for a tensor.
    pub(crate) fn new(group: &Group, tensor: &TensorSpec) -> Self {
        let after = After { lookahead: group.lookahead.is_some(), averages: group.averages() };
        let steering = Steering {
            caution: group.caution,
            clip_update: group.update_clipping.is_some(),
            cautious_decay: group.cautious_decay,
        };
        Self { after, steering, ..Self::of_rule(&*group.rule, tensor) }
    }

    /// A rule for a tensor.
    pub(crate) fn of_rule(rule: &dyn Rule, tensor: &TensorSpec) -> Self {
        let slots = rule.slots(tensor);
        let of_shape = |shapes: &[SlotShape]| {
            slots.iter().copied().filter(|slot| shapes.contains(&slot.shape)).collect()
        };
        let vectors: Vec<Slot> =
            slots.iter().filter(|s| s.is_vector()).map(|s| s.uncounted()).collect();
        let row = slot::row_dims(&slots, &tensor.shape);
        let switches = rule.switches(tensor).into_iter();
        Self {
            kind: Kind::Rule,
            rule: rule.source(),
            switches: switches.map(|(name, on)| (name, u8::from(on))).collect(),
            kept: of_shape(&[SlotShape::Scalar]),
            keeps_without_grad: rule.keeps_without_grad(),
            joint: of_shape(&[SlotShape::Joint]),
            whole_rows: !vectors.is_empty()
                && row.iter().fold(1, |rest, dim| rest * (dim % 4) % 4) == 0,
            one_matrix: !vectors.is_empty()
                && (slot::blocks_of(&slots).is_some() || tensor.shape.len() <= 2),
            vectors,
            slots: slot::tiled(&slots),
            scope: rule.scope(),
            estimated: slot::mask(&slot::tiled(&slots), |s| rule.estimated().contains(&s.name)),
            after: After::default(),
            steering: Steering::default(),
            evaluates: rule.evaluates(),
        }
    }

    /// One without more than this.
    pub(crate) fn other(
        kind: Kind,
        rule: Source,
        switches: Vec<(&'static str, u8)>,
        slots: Vec<Slot>,
    ) -> Self {
        Self {
            kind,
            rule,
            switches,
            slots,
            kept: Vec::new(),
            keeps_without_grad: false,
            joint: Vec::new(),
            vectors: Vec::new(),
            whole_rows: false,
            one_matrix: false,
            scope: Scope::Element,
            estimated: 0,
            after: After::default(),
            steering: Steering::default(),
            evaluates: false,
        }
    }

    /// The kernel that adds gradients to gradients.
    pub(crate) fn accumulate() -> Self {
        Self::other(Kind::Accumulate, control::ACCUMULATE, Vec::new(), Vec::new())
    }

    /// The kernel that makes blocks of values (of whatever sign, or never negative), or values of blocks.
    pub(crate) fn quantize(state: StateFormat, signed: bool, direction: Direction) -> Self {
        let stores = |what, on: bool| (what, u8::from(on));
        let mut switches = vec![
            stores("STORES_SLOTS", direction == Direction::ToBlocks),
            stores("STORES_PARAM", direction == Direction::ToValues),
        ];
        if state == StateFormat::Bf16 {
            switches.push(("STOCHASTIC_SLOTS", 0));
        }
        let blocks = Slot::moment("blocks");
        let slots = vec![if signed { blocks } else { blocks.unsigned() }];
        Self::other(Kind::Quantize, control::QUANTIZE, switches, slots)
    }

    /// The kernel that moves what this one moves, and computes nothing.
    pub(crate) fn traffic(&self) -> Self {
        let mut slots = self.slots.clone();
        slots.extend((0..self.after.slots()).map(|_| Slot::moment("after").exact()));
        Self {
            kind: Kind::Traffic,
            rule: probes::TRAFFIC,
            switches: Vec::new(),
            slots,
            after: After::default(),
            ..self.clone()
        }
    }

    /// The kernel that exchanges parameters for what they are evaluated at, or these for parameters.
    pub(crate) fn exchange(&self, to_evaluate: bool) -> Self {
        let mut switches = self.switches.clone();
        switches.push(("TO_EVALUATE", u8::from(to_evaluate)));
        let (scope, steering) = (Scope::Element, Steering::default());
        Self { kind: Kind::Exchange, switches, scope, steering, ..self.clone() }
    }

    /// Whether parameters are evaluated elsewhere than where they are trained.
    pub(crate) fn is_evaluated(&self) -> bool {
        self.after.averages || self.evaluates
    }

    /// Its switches, as `override` constants.
    fn constants(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.switches.iter().map(|(name, value)| (*name, f64::from(*value)))
    }

    /// Whether its WGSL says what becomes of what it keeps for each tensor.
    pub(crate) fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether its WGSL says what is summed over more than an element before it applies anything.
    pub(crate) fn has_terms(&self) -> bool {
        self.scope != Scope::Element
    }

    /// Whether anything is summed over more than an element before it applies anything.
    pub(crate) fn reduces(&self) -> bool {
        self.has_terms() || self.steering.sums()
    }

    /// Whether it takes estimates of the Hessian's diagonal.
    pub(crate) fn takes_estimates(&self) -> bool {
        self.estimated != 0
    }

    /// Whether it looks at more than a tensor.
    pub(crate) fn gathers(&self) -> bool {
        matches!(self.scope, Scope::Group | Scope::Optimizer)
    }

    /// Whether it keeps something for rows, columns or blocks.
    pub(crate) fn has_vectors(&self) -> bool {
        !self.vectors.is_empty()
    }

    /// Whether it keeps something for rows or columns.
    pub(crate) fn has_matrices(&self) -> bool {
        self.vectors.iter().any(|slot| matches!(slot.shape, SlotShape::Rows | SlotShape::Columns))
    }

    /// Whether it keeps something for columns.
    pub(crate) fn has_columns(&self) -> bool {
        self.vectors.iter().any(|slot| slot.shape == SlotShape::Columns)
    }
}

/// A rule in formats.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
    pub(crate) clip_value: bool,
    /// Whether some steps are monitored.
    pub(crate) is_monitored: bool,
    /// Whether all groups of the rule have the same hyperparameters.
    pub(crate) one_hyper: bool,
    /// Where these begin among those of all rules.
    pub(crate) hypers_at: u64,
    /// Whether a step may set gradients to zero.
    pub(crate) zero_grads: bool,
}

impl Program {
    /// A kernel that is no step, and has no hyperparameters to tell apart.
    pub(crate) fn plain(key: KernelKey, formats: Formats) -> Self {
        let (clip_value, is_monitored) = (false, false);
        let (one_hyper, hypers_at, zero_grads) = (true, 0, false);
        Self { key, formats, clip_value, is_monitored, one_hyper, hypers_at, zero_grads }
    }

    /// The kernel that steps this rule in this frame.
    pub(crate) fn update(&self, frame: Frame, tensors_in: TableIn, stage: Stage) -> Update {
        Update {
            stage,
            frame,
            tensors_in,
            lane_vec4s: LaneVec4s::Two,
            one_hyper: self.one_hyper,
            clip_value: self.clip_value,
            zero_grads: self.zero_grads,
            key: self.key.clone(),
            formats: self.formats,
        }
    }

    /// What it does in a step, in order, and what it does instead in one that is monitored.
    pub(crate) fn stages(&self) -> impl Iterator<Item = Stage> + use<> {
        let Self { key, is_monitored, .. } = self;
        let reduces = key.reduces().then_some(Stage::Reduce);
        let updates = key.kind != Kind::Exchange || key.is_evaluated();
        let monitored = *is_monitored && key.kind == Kind::Rule;
        let update = updates.then_some(Stage::Update);
        let monitored = monitored.then_some(Stage::MonitoredUpdate);
        [reduces.filter(|_| updates), update, monitored].into_iter().flatten()
    }

    /// Bytes of a tile in all state slots together.
    pub(crate) fn state_bytes(&self) -> u64 {
        slot::tile_bytes(&self.key.slots, self.formats.state)
            + self.key.after.slots() as u64 * StateFormat::F32.tile_bytes()
    }

    /// Bytes of a tile in the larger of the buffers that are always the engine's, state and master
    /// copies. 0 if there is neither.
    pub(crate) fn state_or_master_bytes(&self) -> u64 {
        (TILE_ELEMS * self.formats.precision.size_bytes()).max(self.state_bytes())
    }

    /// A window begins at a multiple of this many tiles, for its offset in every buffer to be a multiple of
    /// 256 bytes, the largest offset alignment that WebGPU permits.
    pub(crate) fn window_tiles(&self) -> u32 {
        // In every format of parameters and gradients a tile is a multiple of 256 bytes anyway.
        let of_state = 1 << 8u32.saturating_sub(self.state_bytes().trailing_zeros());
        let sums = self.key.reduces() || self.is_monitored;
        if sums { of_state.max(SUM_TILES) } else { of_state }
    }

    /// Bytes of a tile in the largest of all its buffers.
    pub(crate) fn tile_bytes(&self) -> u64 {
        let Formats { param, grad, .. } = self.formats;
        self.state_or_master_bytes().max(TILE_ELEMS * param.size_bytes().max(grad.size_bytes()))
    }
}

/// Where the tensors' records or the runs of their tiles lie: uniform if they fit, since that is read
/// faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TableIn {
    Uniform,
    Storage,
}

impl TableIn {
    /// For the records of `tensors` tensors.
    pub(crate) fn for_tensors(tensors: usize, limits: &wgpu::Limits) -> Self {
        Self::new(tensors, MAX_UNIFORM_TENSORS, size_of::<abi::Tensor>(), limits)
    }

    /// For `runs` runs.
    pub(crate) fn for_runs(runs: usize, limits: &wgpu::Limits) -> Self {
        Self::new(runs, MAX_UNIFORM_RUNS, size_of::<abi::Run>(), limits)
    }

    fn new(len: usize, most: usize, elem_bytes: usize, limits: &wgpu::Limits) -> Self {
        let fits = (most * elem_bytes) as u64 <= limits.max_uniform_buffer_binding_size;
        if fits && len <= most { Self::Uniform } else { Self::Storage }
    }
}

/// An update kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Update {
    pub(crate) stage: Stage,
    pub(crate) frame: Frame,
    pub(crate) tensors_in: TableIn,
    pub(crate) lane_vec4s: LaneVec4s,
    /// Whether all groups have the same hyperparameters.
    pub(crate) one_hyper: bool,
    /// Whether gradients are clipped by value.
    pub(crate) clip_value: bool,
    /// Whether a step may set gradients to zero.
    pub(crate) zero_grads: bool,
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
}

impl Update {
    /// The same with so many vec4s a lane; a reduction, which goes over its tile by pairs, as it is.
    pub(crate) fn with_lane_vec4s(self, lane_vec4s: LaneVec4s) -> Self {
        if self.stage == Stage::Reduce { self } else { Self { lane_vec4s, ..self } }
    }
}

/// The kernels of a device that were compiled so far.
pub(crate) type KernelCache = Mutex<HashMap<Recipe, Kernel>>;
