//! The `override` constants of kernels, and the sizes of their grids.

use super::{After, Frame, KernelKey, Kind, Margins, Recipe, Stage, Steering, Update};
use crate::{LaneVec4s, Scope, SlotKind, StateFormat, fits::fits, slot::mask};

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

impl Recipe {
    /// The kernel's `override` constants on a device with these limits.
    pub(crate) fn constants(&self, limits: &wgpu::Limits) -> Vec<(&'static str, f64)> {
        let row = ("ROW_WORKGROUPS", f64::from(row_workgroups(limits)));
        match self {
            Recipe::Update(update) => {
                let slots = fits::<u8>(update.key.slots.len(), "a rule has at most eight slots");
                let frame = [
                    ("SLOTS", f64::from(slots)),
                    (
                        "EXACT_SLOTS",
                        f64::from(mask(&update.key.slots, |s| s.kind == SlotKind::Exact)),
                    ),
                    ("ONE_HYPER", flag(update.one_hyper)),
                    ("WORKGROUP_SIZE", f64::from(frame_size(limits))),
                ];
                let row = (update.frame == Frame::Arena).then_some(row);
                let lane = (update.lane_vec4s == LaneVec4s::One).then_some(("LANE_VEC4S", 1.0));
                let is_rule = update.key.kind == Kind::Rule;
                let clip = is_rule.then_some(("CLIP_VALUE", flag(update.clip_value)));
                let zeroes = is_rule.then_some(("ZERO_GRADS", flag(update.zero_grads)));
                let estimate = match update.stage {
                    Stage::Estimate { squares } => vec![
                        ("SQUARES", flag(squares)),
                        ("STORED_SLOTS", f64::from(update.key.estimated)),
                    ],
                    Stage::Reduce | Stage::Update | Stage::MonitoredUpdate => Vec::new(),
                };
                update
                    .key
                    .constants()
                    .chain(frame)
                    .chain(row)
                    .chain(lane)
                    .chain(clip)
                    .chain(zeroes)
                    .chain(estimate)
                    .chain(update.key.after.constants())
                    .chain(update.key.steering.constants().filter(|_| is_rule))
                    .chain(update.key.of_elements())
                    .chain(update.state_constants())
                    .collect()
            }
            Recipe::Decide { skip_non_finite } => {
                vec![("WORKGROUP_SIZE", 64.0), ("SKIP_NON_FINITE", flag(*skip_non_finite))]
            }
            Recipe::Advance { key, number, counts } => {
                let constants = [
                    row,
                    ("RULE", f64::from(*number)),
                    ("COUNTS", flag(*counts)),
                    ("KEEPS_WITHOUT_GRAD", flag(key.keeps_without_grad)),
                ];
                key.constants().chain(constants).collect()
            }
            Recipe::Vectors { key, number } | Recipe::Means { key, number } => {
                key.constants().chain([row, ("RULE", f64::from(*number))]).collect()
            }
            Recipe::Enlist { from_step } => vec![row, ("FROM_STEP", f64::from(*from_step))],
            Recipe::Finish { key, number, large } => {
                let size = if *large { workgroup_size(limits) } else { 64 };
                let size = ("WORKGROUP_SIZE", f64::from(size));
                let rule = ("RULE", f64::from(*number));
                let kind = [("JOINT", flag(key.gathers())), ("LARGE", flag(*large))];
                let steering = key.steering.constants();
                key.constants().chain([row, size, rule]).chain(kind).chain(steering).collect()
            }
            Recipe::Gather { key, group } => {
                let size = ("WORKGROUP_SIZE", f64::from(workgroup_size(limits)));
                let per_group = ("PER_GROUP", flag(key.scope == Scope::Group));
                key.constants()
                    .chain([row, size, ("GROUP", f64::from(*group)), per_group])
                    .collect()
            }
            Recipe::Margins(Margins { key, clip_value, lane_vec4s, .. }) => {
                if key.kind == Kind::Traffic {
                    return vec![row];
                }
                let lane = ("LANE_VEC4S", f64::from(*lane_vec4s));
                let whole = ("WHOLE_ROWS", flag(key.whole_rows));
                let rows = [whole, ("HAS_COLUMNS", flag(key.has_columns())), lane];
                let clip = ("CLIP_VALUE", flag(*clip_value));
                key.constants().chain([row, clip]).chain(rows).collect()
            }
            Recipe::TensorNorms { per_tensor } | Recipe::GroupNorms { per_tensor } => {
                let size = ("WORKGROUP_SIZE", f64::from(workgroup_size(limits)));
                vec![row, size, ("PER_TENSOR", flag(*per_tensor))]
            }
            Recipe::Measure { .. } | Recipe::Total | Recipe::Expand => vec![row],
        }
    }

    /// A name for people: the path of the file that says what the kernel computes.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Recipe::Update(update) => update.key.rule.path,
            _ => self.sources()[0].path,
        }
    }
}

impl KernelKey {
    /// What the kernels of elements must know of rows and columns, if there are any.
    fn of_elements(&self) -> Vec<(&'static str, f64)> {
        if !self.has_vectors() {
            return Vec::new();
        }
        vec![("WHOLE_ROWS", flag(self.whole_rows)), ("ONE_MATRIX", flag(self.one_matrix))]
    }
}

impl After {
    /// What kernels must know of it, if there is any.
    fn constants(self) -> Vec<(&'static str, f64)> {
        if self.slots() == 0 {
            return Vec::new();
        }
        vec![
            ("AFTER_SLOTS", flag(self.lookahead) + flag(self.averages)),
            ("LOOKAHEAD", flag(self.lookahead)),
            ("AVERAGES", flag(self.averages)),
        ]
    }
}

impl Steering {
    /// What kernels must know of it, if anything is summed for it.
    fn constants(self) -> impl Iterator<Item = (&'static str, f64)> {
        let constants = [("CAUTION", self.caution), ("CLIP_UPDATE", self.clip_update)];
        constants.into_iter().filter(move |_| self.sums()).map(|(name, on)| (name, flag(on)))
    }
}

impl Update {
    /// What the kernel must know of state in blocks.
    fn state_constants(&self) -> Vec<(&'static str, f64)> {
        let state = self.formats.state;
        if state.scales().is_none() {
            return Vec::new();
        }
        if self.key.kind != Kind::Traffic {
            return vec![("UNSIGNED_SLOTS", f64::from(mask(&self.key.slots, |slot| !slot.signed)))];
        }
        let words = |bytes: u64| f64::from(fits::<u8>(bytes / 4, "a tile is short"));
        let tile = StateFormat::TILE_ELEMS;
        vec![
            ("CODE_WORDS", words(state.codes_size_bytes(tile))),
            ("SCALE_WORDS", words(state.scales_size_bytes(tile))),
        ]
    }
}

/// Lanes of a frame's workgroup: 128, or what the device permits. (Measured on Mesa's software driver: an AdamW
/// step in f32 takes 4 % less than with 256, others what they took.)
pub(crate) fn frame_size(limits: &wgpu::Limits) -> u32 {
    workgroup_size(limits).min(128)
}

/// Lanes of the workgroup of any other kernel: 256, or what the device permits.
pub(crate) fn workgroup_size(limits: &wgpu::Limits) -> u32 {
    let most =
        limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    if most >= 256 { 256 } else { most / 64 * 64 }
}

/// Workgroups in one row of a dispatch.
pub(crate) fn row_workgroups(limits: &wgpu::Limits) -> u32 {
    limits.max_compute_workgroups_per_dimension.clamp(1, 32768)
}

/// The (x, y) of a dispatch of at least this many workgroups, which the device can have.
pub(crate) fn fold(workgroups: u64, limits: &wgpu::Limits) -> (u32, u32) {
    let (x, y) = grid(workgroups, limits);
    debug_assert!(y <= limits.max_compute_workgroups_per_dimension, "a window too large");
    (x, y)
}

/// As [`fold`], whatever the device can have.
pub(crate) fn grid(workgroups: u64, limits: &wgpu::Limits) -> (u32, u32) {
    let row = u64::from(row_workgroups(limits));
    let fit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    (fit(workgroups.min(row)), fit(workgroups.div_ceil(row)))
}
