//! From WGSL to SPIR-V, MSL, HLSL and GLSL ES, with the options of wgpu-hal 30 (its `vulkan/adapter.rs`, and `device.rs`
//! of the others).

use std::{collections::HashMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use naga::{
    Module, ShaderStage,
    back::{glsl, hlsl, msl, pipeline_constants::process_overrides, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use crate::kernels::{Kernel, Which};

/// Texts, each parsed once for all kernels that are made of it.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    of_files: HashMap<String, (Module, ModuleInfo)>,
}

impl Modules {
    /// The kernel's module with its constants.
    pub(crate) fn specialized(&mut self, folder: &Path, kernel: &Kernel) -> Result<Specialized> {
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
        Ok(Specialized { module: module.into_owned(), info: info.into_owned() })
    }
}

/// A kernel with its constants, ready to be written in any language.
#[derive(Debug)]
pub(crate) struct Specialized {
    module: Module,
    info: ModuleInfo,
}

/// Of what a language cannot refuse to read or write.
fn bounds(buffer: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: BoundsCheckPolicy::Restrict,
        buffer,
        image_load: BoundsCheckPolicy::Unchecked,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

// No language zeroes workgroup memory: the engine does not ask for it, since its kernels write such memory before they
// read it. Bindings have numbers of their own everywhere, which wgpu-hal makes of the layout: that there are any is what
// matters here.
impl Specialized {
    /// With the bounds of buffers checked in the shader, or by the driver's robustBufferAccess2.
    pub(crate) fn spirv(&self, buffer: BoundsCheckPolicy) -> Result<Vec<u8>> {
        let options = spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            capabilities: None,
            bounds_check_policies: bounds(buffer),
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: true,
            emit_int_div_checks: true,
            ..spv::Options::default()
        };
        let (shader_stage, entry_point) = (ShaderStage::Compute, "main".to_owned());
        let pipeline = spv::PipelineOptions { shader_stage, entry_point };
        let words = spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))?;
        Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    pub(crate) fn msl(&self) -> Result<String> {
        let options = msl::Options {
            lang_version: (3, 1),
            fake_missing_bindings: true,
            bounds_check_policies: bounds(BoundsCheckPolicy::Restrict),
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: true,
            emit_int_div_checks: true,
            ..msl::Options::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, "main".to_owned())),
            ..msl::PipelineOptions::default()
        };
        Ok(msl::write_string(&self.module, &self.info, &options, &pipeline)?.0)
    }

    pub(crate) fn hlsl(&self) -> Result<String> {
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_0,
            fake_missing_bindings: true,
            zero_initialize_workgroup_memory: false,
            restrict_indexing: true,
            force_loop_bounding: true,
            ..hlsl::Options::default()
        };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(
            &self.module,
            &self.info,
            None,
        )?;
        Ok(text)
    }

    pub(crate) fn glsl(&self) -> Result<String> {
        let options = glsl::Options {
            version: glsl::Version::new_gles(310),
            zero_initialize_workgroup_memory: false,
            ..glsl::Options::default()
        };
        let (shader_stage, entry_point) = (ShaderStage::Compute, "main".to_owned());
        let pipeline = glsl::PipelineOptions { shader_stage, entry_point, multiview: None };
        let mut text = String::new();
        let (module, info) = (&self.module, &self.info);
        let bounds = bounds(BoundsCheckPolicy::Unchecked);
        glsl::Writer::new(&mut text, module, info, &options, &pipeline, bounds)?.write()?;
        Ok(text)
    }
}

/// Writes the kernels' SPIR-V, and gives each to spirv-val, if that is asked for.
pub(crate) fn spirv(which: &Which, checks_bounds: bool, validates: bool) -> Result<()> {
    let buffer =
        if checks_bounds { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let mut modules = Modules::default();
    let folder = &which.folder;
    let (kernels, mut refused) = (which.read()?, Vec::new());
    for kernel in &kernels {
        let of_kernel = || kernel.name.clone();
        let specialized = modules.specialized(folder, kernel).with_context(of_kernel)?;
        let file = folder.join(kernel.spirv_file(checks_bounds));
        fs::write(&file, specialized.spirv(buffer).with_context(of_kernel)?)?;
        if validates && let Some(said) = invalid(&file)? {
            refused.push(format!("{}: {said}", kernel.name));
        }
    }
    if !refused.is_empty() {
        bail!("spirv-val refuses {} kernels:\n{}", refused.len(), refused.join("\n"));
    }
    if validates {
        println!("spirv-val accepts {} kernels", kernels.len());
    }
    Ok(())
}

/// What spirv-val has against a module.
fn invalid(file: &Path) -> Result<Option<String>> {
    let mut validator = Command::new("spirv-val");
    // Of the version that has SPIR-V 1.6.
    let ran = validator.args(["--target-env", "vulkan1.3"]).arg(file).output();
    let ran = ran.context("cannot run spirv-val")?;
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    Ok((!ran.status.success()).then_some(said))
}

/// The kernels' HLSL, one after the other.
pub(crate) fn hlsl(which: &Which) -> Result<impl Iterator<Item = Result<(Kernel, String)>>> {
    let mut modules = Modules::default();
    Ok(which.read()?.into_iter().map(move |kernel| {
        let specialized = modules.specialized(&which.folder, &kernel);
        let text = specialized.and_then(|specialized| specialized.hlsl());
        let text = text.with_context(|| kernel.name.clone())?;
        Ok((kernel, text))
    }))
}
