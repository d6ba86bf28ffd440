//! Every kernel that the engine can build, through naga: parsed, validated without any optional
//! capability, specialized with its constants, and translated for the backends at hand.

use std::collections::{HashMap, HashSet};

use naga::{
    Module, ShaderStage,
    back::{glsl, hlsl, msl, pipeline_constants::process_overrides, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use fallline_shaders::{frames, join, structs, tables};

use super::{
    recipes::{keys, name, recipes, rules, updates},
    *,
};
use crate::AdamW;

fn parse(source: &str) -> Module {
    naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)))
}

fn validate(source: &str) -> (Module, ModuleInfo) {
    let module = parse(source);
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    (module, info)
}

/// Specializes the kernel, and translates it for Vulkan, Metal, DX12 and GL.
fn translate(source: &str, constants: &[(&str, f64)]) {
    // naga's GLSL ignores these attributes: structs are padded by fields.
    assert!(!source.contains("@size") && !source.contains("@align"));
    let (module, info) = validate(source);
    let constants = constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, entry, &constants).unwrap();

    spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
    let bindings = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
    msl::write_string(&module, &info, &bindings, &msl::PipelineOptions::default()).unwrap();
    let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).unwrap();
    check_zero_values(&text);
    let options = glsl::Options { version: glsl::Version::new_gles(310), ..<_>::default() };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".to_owned(),
        multiview: None,
    };
    let policies = naga::proc::BoundsCheckPolicies::default();
    let mut text = String::new();
    glsl::Writer::new(&mut text, &module, &info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .unwrap();
}

/// naga 30's HLSL defines a zero value for each handle of a type that needs one, and names it by the type:
/// of an alias and its type, DXC refuses the second.
fn check_zero_values(hlsl: &str) {
    let mut defined = HashSet::new();
    for line in hlsl.lines().filter(|line| line.contains(" ZeroValue") && line.ends_with("() {")) {
        assert!(defined.insert(line), "defined twice in HLSL: {line}");
    }
}

/// Each on a device of one of four kinds, which differ in constants and in one function: which one, the hash of its name says.
/// (`cargo xtask isa` has all for WebGPU's defaults.)
#[test]
fn every_kernel_is_valid_everywhere() {
    let devices = [(64, false), (128, false), (256, false), (256, true)];
    // Recipes of rules that keep alike are the same.
    let (mut seen, mut kernels) = (HashSet::new(), Vec::new());
    for recipe in recipes() {
        let device = usize::try_from(hash(&name(&recipe)) % 4).unwrap();
        let (max_compute_invocations_per_workgroup, rounds_on_bits) = devices[device];
        let limits =
            wgpu::Limits { max_compute_invocations_per_workgroup, ..wgpu::Limits::default() };
        let text = join(&recipe.sources_on(rounds_on_bits));
        let constants = recipe.constants(&limits);
        if seen.insert((text.clone(), format!("{constants:?}"))) {
            kernels.push((text, constants));
        }
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let part = kernels.iter().skip(worker).step_by(workers);
            scope.spawn(move || part.for_each(|(text, constants)| translate(text, constants)));
        }
    });
}

/// Writes every distinct kernel into the folder `KERNELS`, for what does not know the engine: the text of each as
/// `HASH.wgsl`, and a line of `kernels.jsonl` with its name, its constants and its bindings. `cargo xtask isa` calls this.
#[test]
#[ignore = "a part of `cargo xtask isa`"]
fn write_kernels() {
    use std::fs;

    let folder =
        std::path::PathBuf::from(std::env::var_os("KERNELS").expect("a folder in KERNELS"));
    let (mut seen, mut names) = (HashSet::new(), HashMap::<String, u32>::new());
    let mut lines = String::new();
    for recipe in recipes() {
        let text = join(&recipe.sources());
        let constants: serde_json::Map<_, _> = recipe
            .constants(&wgpu::Limits::default())
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let bindings: Vec<_> = recipe.bindings().iter().map(binding_name).collect();
        let file = format!("{:016x}.wgsl", hash(&text));
        let mut line = serde_json::json!({
            "file": file, "constants": constants, "bindings": bindings,
        });
        if !seen.insert(line.to_string()) {
            continue;
        }
        fs::write(folder.join(&file), text).unwrap();
        let mut name = name(&recipe);
        // What a name does not say: which slots are exact, say.
        let count = names.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count > 1 {
            name += &format!(" #{count}");
        }
        line["name"] = name.into();
        lines += &format!("{line}\n");
    }
    fs::write(folder.join("kernels.jsonl"), lines).unwrap();
}

/// The same in every run.
fn hash(text: &str) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

/// As WebGPU calls it, and whether its offset is given when it is bound.
fn binding_name(binding: &wgpu::BindingType) -> &'static str {
    let wgpu::BindingType::Buffer { ty, has_dynamic_offset, .. } = binding else { unreachable!() };
    match (ty, has_dynamic_offset) {
        (wgpu::BufferBindingType::Uniform, false) => "uniform",
        (wgpu::BufferBindingType::Uniform, true) => "uniform dynamic",
        (wgpu::BufferBindingType::Storage { read_only: true }, false) => "read-only-storage",
        (wgpu::BufferBindingType::Storage { read_only: true }, true) => "read-only-storage dynamic",
        (wgpu::BufferBindingType::Storage { read_only: false }, false) => "storage",
        (wgpu::BufferBindingType::Storage { read_only: false }, true) => "storage dynamic",
    }
}

#[test]
fn every_kernel_keeps_to_eight_storage_buffers() {
    for recipe in recipes() {
        let storage = |binding: &wgpu::BindingType| {
            let wgpu::BindingType::Buffer { ty, .. } = binding else { return false };
            matches!(ty, wgpu::BufferBindingType::Storage { .. })
        };
        let count = recipe.bindings().iter().filter(|binding| storage(binding)).count();
        assert!(count <= 8, "{}: {count}", recipe.label());
    }
}

#[test]
fn shaders_and_engine_agree_on_constants() {
    let has = |source: Source, line: String| {
        assert!(source.text.contains(&line), "{}: {line}", source.path);
    };
    for frame in [frames::UPDATE, frames::ESTIMATE, frames::EXCHANGE] {
        let tile = crate::layout::TILE_VEC4;
        has(frame, format!("override TILE_LANES: u32 = {tile}u / LANE_VEC4S;"));
    }
    for reduce in [frames::REDUCE, probes::REDUCE] {
        has(reduce, format!("const TILE_LANES: u32 = {}u;", crate::layout::REDUCE_LANES));
    }
    has(tables::HYPER, format!("array<Hyper, {MAX_HYPERS}>"));
    has(control::MARGINS, format!("const BLOCK_ROWS: u32 = {}u;", crate::vectors::BLOCK_ROWS));
    has(
        control::MARGINS,
        format!("const CHUNK_COLUMNS: u32 = {}u;", crate::vectors::CHUNK_COLUMNS),
    );
    let (blocks, rows) = (crate::vectors::LARGE_BLOCKS, crate::vectors::TINY_ROWS);
    has(control::VECTORS, format!("const LARGE_BLOCKS: u32 = {blocks}u;"));
    let parts = crate::vectors::LARGE_PARTS;
    has(control::VECTORS, format!("const LARGE_PARTS: u32 = {parts}u;"));
    has(control::MEANS, format!("const LANE_ROWS: u32 = {rows}u;"));
    for slot in 0..crate::slot::MAX_SLOTS {
        has(structs::SLOTS, format!("    slot{slot}: vec4<f32>,"));
    }
    has(tables::RUNS_UNIFORM, format!("array<Run, {MAX_UNIFORM_RUNS}>"));
    has(tables::TENSORS_UNIFORM, format!("array<Tensor, {MAX_UNIFORM_TENSORS}>"));
    has(structs::TOTAL, format!("const LIMBS: u32 = {}u;", abi::LIMBS));
    has(structs::TOTAL, format!("array<u32, {}>", abi::LIMBS));
    has(structs::TOTAL, format!("const NO_TENSOR: u32 = {:#x}u;", abi::NO_TENSOR));
    has(control::DECIDE, format!("const HISTORY_LEN: u32 = {}u;", crate::control::HISTORY_LEN));
    let head = size_of::<abi::Decision>() / 4;
    has(control::DECIDE, format!("const HEAD_LEN: u32 = {head}u;"));
    assert_eq!(crate::control::ROW_TILES, 8 * 8);
    let small = crate::control::SMALL_TILES;
    has(control::FINISH, format!("const SMALL_TILES: u32 = {small}u;"));
    for name in ["LANES", "TILES"] {
        has(control::MEASURE, format!("const {name}: u32 = 8u;"));
    }
    has(control::EXPAND, format!("const COLUMN: u32 = {}u;", crate::optimizer::EXPAND_COLUMN));
}

/// The offsets and the size of a WGSL struct.
fn layout(module: &Module, name: &str) -> (Vec<(String, u32)>, u32) {
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap();
    let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("{name}") };
    let offsets = members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset));
    (offsets.collect(), *span)
}

macro_rules! assert_same_layout {
    ($module:expr, $mirror:ident { $($field:ident),* }) => {
        let (members, size) = layout($module, stringify!($mirror));
        let mirror = [$((
            stringify!($field).to_owned(),
            u32::try_from(std::mem::offset_of!(abi::$mirror, $field)).unwrap(),
        )),*];
        assert_eq!(members, mirror, stringify!($mirror));
        assert_eq!(size as usize, size_of::<abi::$mirror>(), stringify!($mirror));
    };
}

#[test]
fn structs_have_the_same_layout_in_wgsl_and_rust() {
    let module = |recipe: Recipe| parse(&join(&recipe.sources()));
    for key in keys() {
        let advance = module(Recipe::Advance { key, number: 0, counts: true });
        assert_same_layout!(
            &advance,
            Group {
                hyper,
                grad_sign,
                joint,
                lookahead_k,
                lookahead_alpha,
                average_weight,
                family,
                padding0,
                average_start,
                average_every,
                average_ramp,
                average_offset,
                update_limit,
                update_limit_of_lr,
                padding1,
                padding2,
                step_hyper
            }
        );
        assert_eq!(layout(&advance, "StepHyper").1 as usize, size_of::<abi::StepHyper>());
    }
    let advance = module(Recipe::Advance {
        key: KernelKey::of_rule(&AdamW::new(), &TensorSpec::new("t", [1])),
        number: 0,
        counts: true,
    });
    assert_same_layout!(
        &advance,
        Placement { group, first_vec4, len_vec4, tail_elems, number, whole_vec4, first_sum, rule }
    );
    let margins = recipes().into_iter().find(
        |recipe| matches!(recipe, Recipe::Margins(Margins { key, .. }) if key.kind == Kind::Rule),
    );
    assert_same_layout!(
        &module(margins.unwrap()),
        Matrices {
            rows,
            columns,
            factors_at,
            columns_at,
            first_sum,
            rows_at,
            rows_total,
            matrices,
            blocks,
            chunks,
            row_parts,
            column_parts,
            first_vectors,
            first_means,
            rows_per_value,
            padding0
        }
    );
    let measure = module(Recipe::Measure { grad: Dtype::F16, ragged: false });
    assert_same_layout!(
        &measure,
        Piece { first_workgroup, tensor, len, grad_vec4, first, lead, padding0, padding1 }
    );
    assert_same_layout!(&measure, Partial { sum, exponent });
    let decide = module(Recipe::Decide { skip_non_finite: true });
    assert_same_layout!(&decide, Total { limbs, largest, infinite, not_a_number, not_finite });
    assert_same_layout!(&decide, Span { first, end, max_norm, own, bound_exponent });
    assert_same_layout!(&decide, Norm { norm, clip_factor });
    assert_same_layout!(
        &decide,
        LossScale {
            scale,
            reciprocal,
            growth_tracker,
            found_inf,
            growth_factor,
            backoff_factor,
            growth_interval,
            min_scale
        }
    );
    // The heads of two structs that end in an array of any length.
    let head = |module: &Module, name, mirror: &[&str]| {
        let (mut members, _) = layout(module, name);
        let (_, end) = members.pop().unwrap();
        let offsets = (0u32..).step_by(4).zip(mirror).map(|(at, name)| ((*name).to_owned(), at));
        assert_eq!(members, offsets.collect::<Vec<_>>(), "{name}");
        end as usize
    };
    let decision = [
        "step",
        "skipped",
        "skipped_total",
        "loss_scale",
        "unscale",
        "not_finite",
        "first_step",
        "first_tensor",
    ];
    assert_eq!(head(&decide, "Decision", &decision), size_of::<abi::Decision>());
    assert_eq!(std::mem::offset_of!(abi::Decision, unscale), 16);
    let input = [
        "grad_factor",
        "zero_grads",
        "keep_loss_scale",
        "reported",
        "decides",
        "monitored",
        "padding0",
        "padding1",
    ];
    assert_eq!(head(&advance, "StepInput", &input), size_of::<abi::StepInput>());
    assert_eq!(std::mem::offset_of!(abi::StepInput, keep_loss_scale), 8);
    assert_eq!(std::mem::offset_of!(abi::StepInput, monitored), 20);
    for update in updates() {
        let frame = update.frame;
        let module = module(Recipe::Update(update));
        assert_same_layout!(
            &module,
            Tensor {
                scalars,
                grad_scale,
                clip_factor,
                step,
                direction_scale,
                first_vec4,
                len_vec4,
                tail_elems,
                hyper,
                slow_weight,
                average_weight,
                number,
                whole_vec4
            }
        );
        assert_eq!(layout(&module, "Hyper").1 as usize, size_of::<abi::Hyper>());
        let hypers = head(&module, "Hypers", &["clip_value", "seed", "padding0", "padding1"]);
        assert_eq!(hypers, size_of::<abi::Hypers>());
        assert_eq!(std::mem::offset_of!(abi::Hypers, seed), 4);
        match frame {
            Frame::Arena => {
                assert_same_layout!(&module, Window { first_vec4, padding0, padding1, padding2 });
            }
            Frame::Borrowed { .. } => {
                assert_same_layout!(
                    &module,
                    Run {
                        first_tile,
                        first_of_dispatch,
                        tensor,
                        first_vec4,
                        len_elems,
                        param_vec4,
                        grad_vec4,
                        state_tile
                    }
                );
            }
        }
    }
}

/// What is asked of a caller's rule holds for the engine's own: constants in the order of the WGSL, slots by name.
#[test]
fn the_engines_rules_are_as_a_callers_must_be() {
    for rule in rules() {
        for tensor in [[].as_slice(), &[3, 4]].map(|shape| TensorSpec::new("t", shape)) {
            check::check_declared(&*rule, &KernelKey::of_rule(&*rule, &tensor)).unwrap();
        }
    }
}
