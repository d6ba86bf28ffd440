//! Every kernel that the engine can build, through naga: parsed, validated without any optional
//! capability, specialized with its constants, and translated for the backends at hand.

use std::collections::HashSet;

use naga::{
    Module, ShaderStage,
    back::{glsl, hlsl, msl, pipeline_constants::process_overrides, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::*;
use crate::{AdamW, Group, Lion, Rule, Sgd, rules::Adam};

/// Every rule with every combination of its switches.
fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = vec![Lion::default().into(), Sgd::default().into()];
    for nesterov in [false, true] {
        rules.push(Sgd { momentum: 0.9, nesterov, ..Sgd::default() }.into());
    }
    for amsgrad in [false, true] {
        rules.push(Adam { amsgrad, ..Adam::default() }.into());
        rules.push(AdamW { amsgrad, ..AdamW::default() }.into());
    }
    let sources = rules.iter().map(|rule: &Rule| rule.definition().source());
    let covered: HashSet<Source> = sources.collect();
    assert_eq!(covered, HashSet::from(fallline_shaders::rules::ALL), "a rule is not in this list");
    rules
}

fn updates() -> Vec<Update> {
    let mut frames = vec![Frame::Arena];
    for ragged in [false, true] {
        frames.extend([true, false].map(|shared| Frame::Borrowed { ragged, shared }));
    }
    let mut updates = Vec::new();
    for rule in rules() {
        let key = KernelKey::new(Group::new("g", rule).rule.definition());
        for key in [key.traffic(), key] {
            for tensors_in in [TensorsIn::Uniform, TensorsIn::Storage] {
                let one_hyper = tensors_in == TensorsIn::Uniform;
                updates.extend(frames.iter().map(|&frame| Update {
                    frame,
                    tensors_in,
                    one_hyper,
                    key: key.clone(),
                }));
            }
        }
    }
    updates
}

fn validate(source: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
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

#[test]
fn every_update_kernel_is_valid_everywhere() {
    let updates = updates();
    assert_eq!(updates.len(), 8 * 2 * 2 * 5);
    for update in &updates {
        for max_compute_invocations_per_workgroup in [64, 128, 256] {
            let limits =
                wgpu::Limits { max_compute_invocations_per_workgroup, ..wgpu::Limits::default() };
            translate(&join(&update.sources()), &constants_of(update, &limits));
        }
    }
}

#[test]
fn the_frames_and_the_layout_agree_on_a_block() {
    for frame in [fallline_shaders::frames::ARENA, fallline_shaders::frames::BORROWED] {
        let lanes = format!("const BLOCK_LANES: u32 = {}u;", crate::layout::BLOCK_LANES);
        assert!(frame.text.contains(&lanes), "{}", frame.path);
    }
}

#[test]
fn the_advance_kernel_is_valid_everywhere() {
    translate(&join(&advance_sources()), &[("ROW_WORKGROUPS", 65535.0)]);
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
    let (advance, _) = validate(&join(&advance_sources()));
    assert_same_layout!(&advance, GroupStep { lr, decay });
    assert_same_layout!(&advance, Group { ln_beta1, ln_beta2, grad_scale, hyper });
    assert_same_layout!(&advance, Placement { group, param_vec4, grad_vec4, state_vec4 });
    for update in updates() {
        let (module, _) = validate(&join(&update.sources()));
        assert_same_layout!(
            &module,
            Tensor {
                step_size,
                bias_correction2_rsqrt,
                decay,
                grad_scale,
                step,
                hyper,
                param_vec4,
                grad_vec4,
                state_vec4,
                padding0,
                padding1,
                padding2
            }
        );
        assert_eq!(layout(&module, "Hyper").1 as usize, size_of::<abi::Hyper>());
        if matches!(update.frame, Frame::Borrowed { .. }) {
            assert_same_layout!(&module, Chunk { tensor, first_vec4, len_elems });
            assert_same_layout!(&module, Window { param_vec4, grad_vec4, state_vec4, padding0 });
        }
    }
}

/// The constants that a rule writes into its 32 bytes are those that its WGSL reads there.
#[test]
fn hyperparameters_lie_where_the_rule_reads_them() {
    let names = |rule: Rule| {
        let key = KernelKey::new(Group::new("g", rule).rule.definition());
        let tensors_in = TensorsIn::Uniform;
        let update = Update { frame: Frame::Arena, tensors_in, one_hyper: true, key };
        let (module, _) = validate(&join(&update.sources()));
        let mut members = layout(&module, "Hyper").0;
        members.retain(|(name, _)| !name.starts_with("padding"));
        members
    };
    let check = |rule: Rule, expected: &[(&str, f32)]| {
        let hyper = rule.definition().hyper();
        let members = names(rule);
        assert_eq!(members.len(), expected.len(), "{rule:?}");
        for ((name, offset), (expected_name, value)) in members.iter().zip(expected) {
            assert_eq!(name, expected_name, "{rule:?}");
            assert_eq!(hyper[*offset as usize / 4], *value, "{rule:?}: {name}");
        }
    };
    let moments = (0.875, 0.75);
    let sgd = Sgd { momentum: 0.9, dampening: 0.25, weight_decay: 0.5, ..Sgd::default() };
    let expected = [("weight_decay", 0.5), ("momentum", 0.9), ("one_minus_dampening", 0.75)];
    check(sgd.into(), &expected);
    let betas =
        [("beta1", 0.875), ("one_minus_beta1", 0.125), ("beta2", 0.75), ("one_minus_beta2", 0.25)];
    check(Lion { betas: moments, ..Lion::default() }.into(), &betas);
    let mut adam =
        vec![("one_minus_beta1", 0.125), ("beta2", 0.75), ("one_minus_beta2", 0.25), ("eps", 2.0)];
    check(AdamW { betas: moments, eps: 2.0, ..AdamW::default() }.into(), &adam);
    adam.push(("weight_decay", 0.5));
    let rule = Adam { betas: moments, eps: 2.0, weight_decay: 0.5, ..Adam::default() };
    check(rule.into(), &adam);
}
