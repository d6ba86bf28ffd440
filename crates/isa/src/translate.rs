//! From WGSL to SPIR-V and HLSL, with the options of wgpu-hal 30 (its `vulkan/adapter.rs` and `dx12/device.rs`).

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result};
use naga::{
    Module, ShaderStage,
    back::{hlsl, pipeline_constants::process_overrides, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use crate::kernels::{Kernel, Which};

/// Texts, each parsed once for all kernels that are made of it.
#[derive(Debug, Default)]
struct Modules {
    of_files: HashMap<String, (Module, ModuleInfo)>,
}

impl Modules {
    /// The kernel's module with its constants.
    fn specialized(&mut self, folder: &Path, kernel: &Kernel) -> Result<(Module, ModuleInfo)> {
        if !self.of_files.contains_key(&kernel.file) {
            let text = fs::read_to_string(folder.join(&kernel.file))?;
            let module = naga::front::wgsl::parse_str(&text)?;
            let info =
                Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
            self.of_files.insert(kernel.file.clone(), (module, info));
        }
        let (module, info) = &self.of_files[&kernel.file];
        let constants = kernel.constants.iter().map(|(name, value)| (name.clone(), *value));
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, info) = process_overrides(module, info, entry, &constants.collect())?;
        Ok((module.into_owned(), info.into_owned()))
    }
}

pub(crate) fn spirv(which: &Which, restrict: bool) -> Result<()> {
    let buffer = if restrict { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        capabilities: None,
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        // The engine asks for none: its kernels write such memory before they read it.
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        emit_int_div_checks: true,
        ..spv::Options::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_owned() };
    let mut modules = Modules::default();
    let folder = &which.folder;
    for kernel in which.read()? {
        let (module, info) =
            modules.specialized(folder, &kernel).with_context(|| kernel.name.clone())?;
        let words = spv::write_vec(&module, &info, &options, Some(&pipeline))
            .with_context(|| kernel.name.clone())?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(folder.join(kernel.spirv_file()), bytes)?;
    }
    Ok(())
}

/// The kernels' HLSL, one after the other.
pub(crate) fn hlsl(which: &Which) -> Result<impl Iterator<Item = Result<(Kernel, String)>>> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        // wgpu-hal numbers bindings by the layout: that they have numbers is what matters here.
        fake_missing_bindings: true,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..hlsl::Options::default()
    };
    let mut modules = Modules::default();
    Ok(which.read()?.into_iter().map(move |kernel| {
        let (module, info) =
            modules.specialized(&which.folder, &kernel).with_context(|| kernel.name.clone())?;
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .with_context(|| kernel.name.clone())?;
        Ok((kernel, text))
    }))
}
