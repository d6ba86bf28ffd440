//! Every kernel that the engine can build, for tests.

use std::{collections::HashSet, sync::Arc};

use super::*;
use crate::{Adafactor, AdamW, Precision, Prodigy};

/// Every rule with every combination of its switches.
pub(super) fn rules() -> Vec<Arc<dyn Rule>> {
    let of_cases = |name: &&'static str| {
        let name = *name;
        fallline_reference::cases(name).iter().map(move |options| {
            let options: serde_json::Value = serde_json::from_str(options).unwrap();
            crate::deserialize_rule(name, options).unwrap()
        })
    };
    let rules: Vec<Arc<dyn Rule>> = crate::RULE_NAMES.iter().flat_map(of_cases).collect();
    let covered: HashSet<Source> = rules.iter().map(|rule| rule.source()).collect();
    let all: HashSet<Source> = fallline_shaders::rules::ALL.iter().copied().collect();
    assert_eq!(covered, all, "a rule is not in the catalog, or without cases");
    rules
}

/// Tensors whose rules may have different kernels.
fn tensors() -> [TensorSpec; 6] {
    let matrix = TensorSpec::new("matrix", [3, 4]);
    let vector = TensorSpec::new("vector", [1]);
    let of = |dtype| matrix.clone().dtype(dtype);
    // Wide rows of whole vec4s, and rows of others in many matrices.
    let [whole, odd] = [&[70, 300][..], &[2, 70, 301]].map(|shape| TensorSpec::new("wide", shape));
    [vector, matrix.clone(), of(Dtype::F16), of(Dtype::Bf16), whole, odd]
}

/// The distinct kernels of these.
pub(super) fn keys() -> Vec<KernelKey> {
    let mut keys: Vec<KernelKey> = Vec::new();
    let mut add = |key: KernelKey| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    for rule in rules() {
        for tensor in tensors() {
            add(KernelKey::of_rule(&*rule, &tensor));
        }
    }
    // What comes after an update does not know the rule, nor the rule what comes after.
    let after = [(true, false), (false, true), (true, true)];
    for (lookahead, averages) in after {
        let adamw = KernelKey::of_rule(&AdamW::new(), &tensors()[0]);
        add(KernelKey { after: After { lookahead, averages }, ..adamw });
    }
    // Nor does what becomes of directions, but for what is summed and decided.
    let of =
        |caution, clip_update, cautious_decay| Steering { caution, clip_update, cautious_decay };
    let adamw: &dyn Rule = &AdamW::new();
    for (rule, steering) in [
        (adamw, of(true, false, false)),
        (adamw, of(false, true, false)),
        (adamw, of(false, false, true)),
        (adamw, of(true, true, true)),
        (&Adafactor::new(), of(true, true, true)),
        (&Prodigy::new(), of(true, true, true)),
    ] {
        add(KernelKey { steering, ..KernelKey::of_rule(rule, &tensors()[1]) });
    }
    keys
}

/// Every parameter format with every precision that it can have, beside every gradient format.
fn formats(state: StateFormat) -> Vec<Formats> {
    let mut formats = Vec::new();
    for &precision in Precision::ALL {
        for &param in precision.dtypes() {
            let spec = crate::TensorSpec::new("t", [1]).dtype(param).precision(precision);
            let with = |grad: &Dtype| spec.clone().grad_dtype(*grad).formats(state).unwrap();
            formats.extend(Dtype::ALL.iter().map(with));
        }
    }
    assert_eq!(formats.len(), (1 + 3 + 5) * 3);
    formats
}

const F32: Formats = Formats {
    param: Dtype::F32,
    grad: Dtype::F32,
    precision: Precision::Nearest,
    state: StateFormat::F32,
};

fn frames() -> Vec<Frame> {
    let mut frames = vec![Frame::Arena];
    for ragged in [false, true] {
        for runs_in in [TableIn::Uniform, TableIn::Storage] {
            frames.extend([true, false].map(|shared| Frame::Borrowed { ragged, shared, runs_in }));
        }
    }
    frames
}

pub(super) fn updates() -> Vec<Update> {
    let mut updates = Vec::new();
    let adamw = KernelKey::of_rule(&AdamW::new(), &tensors()[0]);
    let mut add = |key: &KernelKey, formats, tensors_in| {
        let one_hyper = tensors_in == TableIn::Uniform;
        let program = Program::plain(key.clone(), formats);
        // What a monitored update adds up knows neither the rule nor the state.
        let is_monitored =
            (*key == adamw || key.has_vectors()) && formats.state == StateFormat::F32;
        let stages = Program { is_monitored, ..program }.stages();
        let update = |stage, frame| Update {
            stage,
            frame,
            tensors_in,
            lane_vec4s: LaneVec4s::Two,
            one_hyper,
            clip_value: !one_hyper,
            zero_grads: !one_hyper,
            key: key.clone(),
            formats,
        };
        let is_estimated = key.takes_estimates() && key.kind == Kind::Rule;
        let estimate = is_estimated.then_some(Stage::Estimate { squares: one_hyper });
        for stage in stages.chain(estimate) {
            updates.extend(frames().into_iter().map(|frame| update(stage, frame)));
        }
    };
    for key in keys() {
        for key in [key.traffic(), key] {
            for tensors_in in [TableIn::Uniform, TableIn::Storage] {
                add(&key, F32, tensors_in);
            }
        }
    }
    // Formats do not know the rule, nor the rule the formats.
    for formats in StateFormat::ALL.iter().copied().flat_map(formats) {
        add(&adamw, formats, TableIn::Uniform);
        add(&adamw.traffic(), formats, TableIn::Uniform);
        if formats.precision == Precision::Nearest && formats.state == StateFormat::F32 {
            add(&KernelKey::accumulate(), formats, TableIn::Uniform);
        }
    }
    // What parameters are evaluated at lies in f32, whatever the format of the state.
    let after = After { lookahead: true, averages: true };
    for to_evaluate in [true, false] {
        let key = KernelKey { after, ..adamw.clone() }.exchange(to_evaluate);
        for state in [StateFormat::F32, StateFormat::Bf16, StateFormat::Int8] {
            for &dtype in Dtype::ALL {
                let formats = Formats { param: dtype, grad: dtype, state, ..F32 };
                add(&key, formats, TableIn::Storage);
            }
        }
    }
    for direction in [Direction::ToBlocks, Direction::ToValues] {
        for &state in StateFormat::ALL {
            for &dtype in Dtype::ALL {
                let formats = Formats { param: dtype, grad: dtype, state, ..F32 };
                let key = KernelKey::quantize(state, true, direction);
                updates.extend([false, true].map(|ragged| Update {
                    stage: Stage::Update,
                    frame: Frame::Borrowed { ragged, shared: true, runs_in: TableIn::Uniform },
                    tensors_in: TableIn::Uniform,
                    lane_vec4s: LaneVec4s::Two,
                    one_hyper: true,
                    clip_value: false,
                    zero_grads: false,
                    key: key.clone(),
                    formats,
                }));
            }
        }
    }
    updates
}

/// Those of one vec4 a lane: every rule in the arena, every format there and over borrowed buffers. (The tables that an
/// update is joined with do not know it.)
fn with_one_vec4() -> impl Iterator<Item = Update> {
    let updates = updates().into_iter().filter(|update| {
        let in_one = match update.frame {
            Frame::Arena => true,
            Frame::Borrowed { shared, runs_in, .. } => {
                let is_adamw = update.key.rule == fallline_shaders::rules::ADAMW;
                is_adamw && !shared && runs_in == TableIn::Uniform
            }
        };
        let is_update = update.stage != Stage::Reduce && update.key.kind != Kind::Traffic;
        in_one && is_update && update.tensors_in == TableIn::Uniform
    });
    updates.map(|update| update.with_lane_vec4s(LaneVec4s::One))
}

/// Every kernel that the engine can build.
pub(super) fn recipes() -> Vec<Recipe> {
    let mut recipes: Vec<Recipe> = updates().into_iter().map(Recipe::Update).collect();
    recipes.extend(with_one_vec4().map(Recipe::Update));
    for &grad in Dtype::ALL {
        recipes.extend([false, true].map(|ragged| Recipe::Measure { grad, ragged }));
    }
    recipes.extend([false, true].map(|skip_non_finite| Recipe::Decide { skip_non_finite }));
    for key in keys() {
        let advance = |counts| Recipe::Advance { key: key.clone(), number: 1, counts };
        recipes.extend([true, false].map(advance));
    }
    for key in keys() {
        if key.reduces() {
            let finish = |large| Recipe::Finish { key: key.clone(), number: 1, large };
            recipes.extend([false, true].map(finish));
        }
        if key.gathers() {
            recipes.push(Recipe::Gather { key: key.clone(), group: 1 });
        }
        if !key.has_vectors() {
            continue;
        }
        for &grad in Dtype::ALL {
            for (ragged, tensors_in) in [(false, TableIn::Uniform), (true, TableIn::Storage)] {
                let key = key.clone();
                let clip_value = ragged;
                let lane_vec4s = 8;
                let margins = Margins { key, grad, ragged, tensors_in, clip_value, lane_vec4s };
                recipes.push(Recipe::Margins(margins.traffic()));
                recipes.extend(
                    [0, 1, 2, 4, 8].map(|lane_vec4s| {
                        Recipe::Margins(Margins { lane_vec4s, ..margins.clone() })
                    }),
                );
            }
        }
        recipes.push(Recipe::Vectors { key: key.clone(), number: 1 });
        if key.has_matrices() {
            recipes.push(Recipe::Means { key, number: 1 });
        }
    }
    recipes.extend([0, 1].map(|from_step| Recipe::Enlist { from_step }));
    recipes.extend([false, true].map(|per_tensor| Recipe::TensorNorms { per_tensor }));
    recipes.extend([false, true].map(|per_tensor| Recipe::GroupNorms { per_tensor }));
    recipes.extend([Recipe::Expand, Recipe::Total]);
    recipes
}

/// For people, in words: rule, formats, frame, where tables lie, switches.
pub(super) fn name(recipe: &Recipe) -> String {
    let mut name = stem(recipe.label()).to_owned();
    match recipe {
        Recipe::Update(Update {
            stage,
            frame,
            tensors_in,
            lane_vec4s,
            clip_value,
            key,
            formats,
            ..
        }) => {
            match stage {
                Stage::Update => {}
                Stage::MonitoredUpdate => name += " monitored",
                Stage::Reduce => name += " reduce",
                Stage::Estimate { squares } => name += &format!(" estimate squares:{squares}"),
            }
            let Formats { param, grad, precision, state } = formats;
            name += &format!(" {param:?}-{grad:?}-{precision:?}-{state:?}");
            match frame {
                Frame::Arena => name += " arena",
                Frame::Borrowed { ragged, shared, runs_in } => {
                    name += if *ragged { " borrowed ragged" } else { " borrowed whole" };
                    name += if *shared { " shared" } else { " apart" };
                    name += &format!(" runs:{runs_in:?}");
                }
            }
            name += &format!(" tensors:{tensors_in:?} slots:{}", key.slots.len());
            if *lane_vec4s == LaneVec4s::One {
                name += " lane_vec4s:1";
            }
            if *clip_value {
                name += " clip_value:1";
            }
            name += &switches(key);
        }
        Recipe::Measure { grad, ragged } => {
            name += &format!(" {grad:?} {}", if *ragged { "ragged" } else { "whole" });
        }
        Recipe::Margins(Margins { key, grad, ragged, tensors_in, lane_vec4s, .. }) => {
            let packing = if *ragged { "ragged" } else { "whole" };
            name += &format!(" {} {grad:?} {packing} tensors:{tensors_in:?}", key.rule.stem());
            name += &format!(" lane_vec4s:{lane_vec4s}{}", switches(key));
        }
        Recipe::Advance { key, .. }
        | Recipe::Finish { key, .. }
        | Recipe::Gather { key, .. }
        | Recipe::Vectors { key, .. }
        | Recipe::Means { key, .. } => name += &format!(" {}{}", key.rule.stem(), switches(key)),
        Recipe::Decide { skip_non_finite } => {
            name += &format!(" skip_non_finite:{skip_non_finite}")
        }
        Recipe::TensorNorms { per_tensor } | Recipe::GroupNorms { per_tensor } => {
            name += &format!(" per_tensor:{per_tensor}");
        }
        Recipe::Enlist { from_step } => name += &format!(" from_step:{from_step}"),
        Recipe::Total | Recipe::Expand => {}
    }
    name.to_lowercase()
}

fn stem(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn switches(key: &KernelKey) -> String {
    let After { lookahead, averages } = key.after;
    let after = [("lookahead", lookahead), ("averages", averages)];
    let Steering { caution, clip_update, cautious_decay } = key.steering;
    let steering =
        [("caution", caution), ("clip_update", clip_update), ("cautious_decay", cautious_decay)];
    let beside = after.into_iter().chain(steering).filter(|(_, on)| *on).map(|(name, _)| (name, 1));
    let all = key.switches.iter().copied().chain(beside);
    let rows = [("whole_rows", key.whole_rows), ("one_matrix", key.one_matrix)];
    let rows = rows.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, 1));
    all.chain(rows).map(|(name, value)| format!(" {name}:{value}")).collect()
}
