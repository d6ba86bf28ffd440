//! Pipelines of SPIR-V, and what a Vulkan driver tells of them.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char},
    fs,
    io::Write as _,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ash::{ext, khr, vk};

use crate::{
    assembly,
    kernels::{Kernel, Which},
    told::Told,
};

/// A device of the first driver, with what asks it of pipelines.
struct Driver {
    /// What the others come from.
    _entry: ash::Entry,
    _instance: ash::Instance,
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    /// Whether it checks the bounds of buffers.
    is_robust: bool,
    /// Its name, its driver, and whether that checks the bounds of buffers.
    describe: serde_json::Value,
}

/// How long a kernel may take; emulated, some take half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process's exit code where a kernel took longer.
const TIMED_OUT: i32 = 124;

/// Compiles the kernels' SPIR-V. Prints the device, and a line for each kernel when it is begun and when it is done: a
/// driver may end the process at any of them.
pub(crate) fn compile(which: &Which) -> Result<()> {
    // SAFETY: nothing is destroyed before what was made of it, and all structures are filled in.
    let driver = unsafe { Driver::open()? };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", driver.describe)?;
    for kernel in which.read()? {
        let file = which.folder.join(kernel.spirv_file(!driver.is_robust));
        let bytes =
            fs::read(&file).with_context(|| format!("no {file:?}: `isa spirv` comes first"))?;
        writeln!(out, "{}", serde_json::json!({ "begun": kernel.name }))?;
        let (done, is_done) = mpsc::channel::<()>();
        let watch = thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                std::process::exit(TIMED_OUT);
            }
        });
        // SAFETY: naga's SPIR-V is valid, and the layout is that of its bindings.
        match unsafe { driver.pipeline(&kernel, &bytes) } {
            Ok(told) => writeln!(out, "{}", serde_json::to_string(&told)?)?,
            Err(error) => eprintln!("{}: {error:#}", kernel.name),
        }
        drop(done);
        let _ = watch.join();
    }
    out.flush()?;
    // Drivers of hardware that is not there may not like to be destroyed.
    std::process::exit(0)
}

impl Driver {
    unsafe fn open() -> Result<Self> {
        // SAFETY: the caller's.
        unsafe {
            let entry = ash::Entry::load().context("no Vulkan")?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None)?;
            let physical = instance.enumerate_physical_devices()?;
            let physical = *physical.first().context("no Vulkan device")?;

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(&properties.properties.device_name);
            let extensions = instance.enumerate_device_extension_properties(physical)?;
            let has =
                |name: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
            ensure!(
                has(khr::pipeline_executable_properties::NAME),
                "the driver of {name} has no VK_KHR_pipeline_executable_properties"
            );
            let mut robustness2 = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut features = vk::PhysicalDeviceFeatures2::default();
            if has(ext::robustness2::NAME) {
                features = features.push_next(&mut robustness2);
            }
            instance.get_physical_device_features2(physical, &mut features);
            let is_robust = robustness2.robust_buffer_access2 == vk::TRUE;

            let mut enabled = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
            let wanted = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                    .pipeline_executable_info(true);
            let mut robust =
                vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
            let queues = [queue];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .push_next(&mut executable);
            if is_robust {
                enabled.push(ext::robustness2::NAME.as_ptr());
                info = info.push_next(&mut robust);
            }
            let info = info.enabled_extension_names(&enabled).enabled_features(&wanted);
            let device = instance.create_device(physical, &info, None).context("no device")?;
            let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
            let describe = serde_json::json!({
                "device": name,
                "driver": format!("{} {}", text(&driver.driver_name), text(&driver.driver_info)),
                "robust": is_robust,
            });
            Ok(Self {
                _entry: entry,
                _instance: instance,
                device,
                executables,
                is_robust,
                describe,
            })
        }
    }

    unsafe fn pipeline(&self, kernel: &Kernel, spirv: &[u8]) -> Result<Told> {
        let device = &self.device;
        let words: Vec<u32> = spirv
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let binding = |(number, name): (u32, &String)| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(number)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
                .descriptor_type(descriptor(name))
        };
        let bindings: Vec<_> = (0..).zip(&kernel.bindings).map(binding).collect();
        // SAFETY: the caller's.
        unsafe {
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&set, None)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            let module = vk::ShaderModuleCreateInfo::default().code(&words);
            let module = device.create_shader_module(&module, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(
                vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                    | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
            );
            let pipelines =
                device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = pipelines.map_err(|(_, error)| error).context("no pipeline")?[0];
            let told = self.ask(kernel, pipeline);
            device.destroy_pipeline(pipeline, None);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(sets[0], None);
            told
        }
    }

    unsafe fn ask(&self, kernel: &Kernel, pipeline: vk::Pipeline) -> Result<Told> {
        // SAFETY: the caller's.
        unsafe {
            let of = vk::PipelineInfoKHR::default().pipeline(pipeline);
            // Intel's has one for each width it compiled for: the last is the widest.
            let all = self.executables.get_pipeline_executable_properties(&of)?;
            let index = u32::try_from(all.len())?.checked_sub(1).context("no executable")?;
            let subgroup = all[all.len() - 1].subgroup_size;
            let of =
                vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(index);
            let statistics = self.executables.get_pipeline_executable_statistics(&of)?;
            let statistics: HashMap<String, u64> = statistics
                .iter()
                .filter(|s| s.format == vk::PipelineExecutableStatisticFormatKHR::UINT64)
                .map(|statistic| (text(&statistic.name), statistic.value.u64))
                .collect();
            let accesses = match self.last_representation(&of)? {
                Some((stage, code)) => assembly::accesses(&stage, &code),
                None => Vec::new(),
            };
            Ok(Told::new(&kernel.name, subgroup, &statistics, accesses))
        }
    }

    /// Name and text of the compiler's last stage, the assembly.
    unsafe fn last_representation(
        &self,
        of: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Option<(String, String)>> {
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.executables.device();
        let mut count = 0;
        // SAFETY: as the specification says: first the number, then the sizes, then the texts.
        unsafe {
            get(device, of, &mut count, std::ptr::null_mut()).result()?;
            let mut stages =
                vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(device, of, &mut count, stages.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> =
                stages.iter().map(|stage| vec![0; stage.data_size]).collect();
            for (stage, text) in stages.iter_mut().zip(&mut texts) {
                stage.p_data = text.as_mut_ptr().cast();
            }
            get(device, of, &mut count, stages.as_mut_ptr()).result()?;
            let last = stages.last().zip(texts.last());
            Ok(last.map(|(stage, code)| {
                let code = String::from_utf8_lossy(code);
                (text(&stage.name), code.trim_end_matches('\0').to_owned())
            }))
        }
    }
}

/// As wgpu-hal makes them.
fn descriptor(binding: &str) -> vk::DescriptorType {
    match binding {
        "uniform" => vk::DescriptorType::UNIFORM_BUFFER,
        "uniform dynamic" => vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
        dynamic if dynamic.ends_with(" dynamic") => vk::DescriptorType::STORAGE_BUFFER_DYNAMIC,
        _ => vk::DescriptorType::STORAGE_BUFFER,
    }
}

fn text(chars: &[c_char]) -> String {
    let bytes = chars.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}
