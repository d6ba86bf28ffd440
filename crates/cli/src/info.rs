//! `fallline info`: which adapters are there, and what do they give to an optimizer step? Or which rules are there, and
//! what do these keep? Or what is in a checkpoint?

mod checkpoint;
mod rules;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use fallline::{
    Gpu, GpuOptions, KernelPlaces, KernelStage, StateFormat, TensorSpec, kernel_wgsl,
    wgpu::{Adapter, Backends, DeviceDescriptor, Features, Limits},
};
use serde::Serialize;

use crate::{
    Outcome,
    copy::Copy,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::Outputs,
    precision::{Numerics, PrecisionArgs},
    print,
    rule::RuleName,
    timing::Timer,
};

/// Options of `fallline info`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Write what is listed to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// List the rules instead: whose numbers each has, what it keeps for a matrix, and the options
    /// with which `fallline train` trains weights
    #[arg(long, conflicts_with = "kernel")]
    rules: bool,

    /// Tell what is in a checkpoint instead, and whether it is as it was written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "rules"])]
    checkpoint: Option<PathBuf>,

    /// Print the WGSL of a rule's kernel instead, all files of it as one page
    #[arg(long, value_name = "RULE", value_enum, conflicts_with = "json")]
    kernel: Option<RuleName>,

    /// Which of its kernels
    #[arg(long, value_enum, default_value_t = KernelName::Update, requires = "kernel")]
    stage: KernelName,

    /// For parameters and gradients in the caller's buffers
    #[arg(long, requires = "kernel")]
    borrowed: bool,

    #[command(flatten)]
    precision: PrecisionArgs,
}

/// The kernels of a rule.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KernelName {
    /// Counts steps and derives each tensor's scalars
    Advance,
    /// Sums over rows and columns in parts, of rules that keep something of these
    Margins,
    /// Adds these up, and keeps of them what the rule does
    Vectors,
    /// Averages over matrices what is kept of rows
    Means,
    /// Sums over tensors, of rules that look at whole ones
    Reduce,
    /// Adds these up, and decides by them
    Finish,
    /// Adds up those of many tensors, of rules that look at all, and decides by them
    Gather,
    /// Updates parameter and state
    Update,
    /// Takes estimates of the Hessian's diagonal, of rules that do so between steps
    Estimate,
}

impl From<KernelName> for KernelStage {
    fn from(name: KernelName) -> Self {
        match name {
            KernelName::Advance => KernelStage::Advance,
            KernelName::Margins => KernelStage::Margins,
            KernelName::Vectors => KernelStage::Vectors,
            KernelName::Means => KernelStage::Means,
            KernelName::Reduce => KernelStage::Reduce,
            KernelName::Finish => KernelStage::Finish,
            KernelName::Gather => KernelStage::Gather,
            KernelName::Update => KernelStage::Update,
            KernelName::Estimate => KernelStage::Estimate,
        }
    }
}

impl KernelName {
    /// What a rule without this kernel does not do.
    const fn purpose(self) -> &'static str {
        match self {
            KernelName::Margins | KernelName::Vectors | KernelName::Means => {
                "keeps nothing of rows and columns"
            }
            KernelName::Gather => "sums nothing over many tensors",
            KernelName::Estimate => "takes no estimates",
            _ => "looks at no whole tensor",
        }
    }
}

const HELP: &str = "\
Fails if there is no adapter or none can be used, or if a checkpoint is not as it was written.

Examples:
  fallline info
  fallline info --backend vulkan --json adapters.json
  fallline info --rules
  fallline info --kernel adamw --param bf16 --state int8 | less
  fallline info --kernel adafactor --stage margins
  fallline info --checkpoint runs/digits/checkpoint-1000.safetensors";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> Result<Outcome> {
    if let Some(rule) = args.kernel {
        return print_kernel(args, rule);
    }
    let numerics = args.precision.numerics().map_err(usage)?;
    if numerics != Numerics::default() {
        return Err(usage(anyhow!("formats are those of a kernel: they need --kernel RULE")));
    }
    if let Some(path) = &args.checkpoint {
        return checkpoint::print(path, args.json.as_deref());
    }
    let json = Outputs::default().open_any(args.json.as_deref())?;
    if args.rules {
        return rules::list(json);
    }
    let adapters = adapters(&device.options()?);
    if adapters.is_empty() {
        // Says what there is instead and what to install.
        device.open()?;
    }
    let reports: Vec<Report> = adapters.iter().map(Report::new).collect();
    let texts: Vec<String> = reports.iter().map(Report::text).collect();
    print::print(texts.join("\n"))?;
    if let Some(json) = json {
        json.write_json(&reports)?;
    }
    let usable = reports.iter().any(|report| report.unusable.is_none());
    Ok(if usable { Outcome::Good } else { Outcome::Failed })
}

/// Prints the files of a kernel. Needs no device.
fn print_kernel(args: &Args, rule: RuleName) -> Result<Outcome> {
    let numerics = args.precision.numerics().map_err(usage)?;
    if numerics.clip.is_some() || numerics.scales() {
        let why = "--clip and --loss-scale change no kernel of a rule, but what it is given";
        return Err(usage(anyhow!(why)));
    }
    // A matrix, so that there are rows and columns.
    let tensor = numerics.spec(TensorSpec::new("tensor", [64, 64])).state(numerics.state);
    let places = if args.borrowed { KernelPlaces::Borrowed } else { KernelPlaces::Arena };
    let page = kernel_wgsl(&*rule.rule(), &tensor, places, args.stage.into())?;
    let none = || format!("{rule} {}: it has no such kernel", args.stage.purpose());
    let page = page.with_context(none);
    print::print(page.map_err(usage)?)?;
    Ok(Outcome::Good)
}

/// The adapters that the options name. GL only if it is asked for or nothing else is there: without
/// a display its drivers speak up on the terminal.
fn adapters(options: &GpuOptions) -> Vec<Adapter> {
    let tries = match options.backends {
        Some(backends) => vec![backends],
        None => vec![Backends::all().difference(Backends::GL), Backends::GL],
    };
    let name = options.adapter_name.as_deref().unwrap_or("").to_lowercase();
    let named = |backends| {
        let mut found = fallline::adapters(backends);
        found.retain(|adapter| adapter.get_info().name.to_lowercase().contains(&name));
        found
    };
    tries.into_iter().map(named).find(|found| !found.is_empty()).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct Report {
    adapter: AdapterReport,
    device_type: String,
    limits: LimitsReport,
    features: FeaturesReport,
    subgroup_size: [u32; 2],
    /// The largest part of the arena that one dispatch reaches.
    window_elems: u64,
    copy_gb_per_s: Option<f64>,
    timing: Option<String>,
    /// Why the engine cannot use the adapter.
    unusable: Option<String>,
}

/// The limits that matter to a step.
#[derive(Debug, Serialize)]
pub(crate) struct LimitsReport {
    max_storage_buffer_binding_size: u64,
    max_buffer_size: u64,
    max_storage_buffers_per_shader_stage: u32,
    max_compute_invocations_per_workgroup: u32,
    max_compute_workgroups_per_dimension: u32,
    min_storage_buffer_offset_alignment: u32,
}

impl LimitsReport {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment,
        }
    }

    /// Each by its name.
    pub(crate) fn in_words(&self) -> [(&'static str, String); 6] {
        let number = |value: u32| value.to_string();
        [
            ("max_storage_buffer_binding_size", mib(self.max_storage_buffer_binding_size)),
            ("max_buffer_size", mib(self.max_buffer_size)),
            (
                "max_storage_buffers_per_shader_stage",
                number(self.max_storage_buffers_per_shader_stage),
            ),
            (
                "max_compute_invocations_per_workgroup",
                number(self.max_compute_invocations_per_workgroup),
            ),
            (
                "max_compute_workgroups_per_dimension",
                number(self.max_compute_workgroups_per_dimension),
            ),
            (
                "min_storage_buffer_offset_alignment",
                number(self.min_storage_buffer_offset_alignment),
            ),
        ]
    }
}

/// The features that matter to a step.
#[derive(Debug, Serialize)]
pub(crate) struct FeaturesReport {
    timestamp_query: bool,
    shader_f16: bool,
    subgroup: bool,
    buffer_binding_array: bool,
}

impl FeaturesReport {
    pub(crate) fn new(features: Features) -> Self {
        Self {
            timestamp_query: features.contains(Features::TIMESTAMP_QUERY),
            shader_f16: features.contains(Features::SHADER_F16),
            subgroup: features.contains(Features::SUBGROUP),
            buffer_binding_array: features.contains(Features::BUFFER_BINDING_ARRAY),
        }
    }

    /// Each by its name.
    pub(crate) fn in_words(&self) -> [(&'static str, String); 4] {
        let yes = |have: bool| if have { "yes" } else { "no" }.to_owned();
        [
            ("TIMESTAMP_QUERY", yes(self.timestamp_query)),
            ("SHADER_F16", yes(self.shader_f16)),
            ("SUBGROUP", yes(self.subgroup)),
            ("BUFFER_BINDING_ARRAY", yes(self.buffer_binding_array)),
        ]
    }
}

/// Elements that lie together in the arena, and their bytes in f32.
const TILE_ELEMS: u64 = StateFormat::TILE_ELEMS;
const TILE_BYTES: u64 = StateFormat::F32.blocks_size_bytes(TILE_ELEMS);

impl Report {
    fn new(adapter: &Adapter) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let bandwidth = bandwidth(adapter, &limits);
        let unusable = bandwidth.as_ref().err().map(print::message);
        let (copy_gb_per_s, timing) = bandwidth.ok().unzip();
        Self {
            adapter: AdapterReport::new(&info),
            device_type: format!("{:?}", info.device_type),
            features: FeaturesReport::new(adapter.features()),
            subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
            window_elems: limits.max_storage_buffer_binding_size / TILE_BYTES * TILE_ELEMS,
            limits: LimitsReport::new(&limits),
            copy_gb_per_s,
            timing,
            unusable,
        }
    }

    /// One line for each property, aligned.
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.adapter.name);
        let mut line = |name: &str, value: String| text += &format!("  {name:<39}{value}\n");
        let adapter = &self.adapter;
        line("backend", adapter.backend.clone());
        line("driver", adapter.driver.clone());
        line("device type", self.device_type.clone());
        for (name, value) in self.limits.in_words() {
            line(name, value);
        }
        let [least, most] = self.subgroup_size;
        for (name, value) in self.features.in_words() {
            let lanes = match name {
                "SUBGROUP" if self.features.subgroup && least == most => format!(", {least} lanes"),
                "SUBGROUP" if self.features.subgroup => format!(", {least} to {most} lanes"),
                _ => String::new(),
            };
            line(name, value + &lanes);
        }
        let elems = self.window_elems;
        line("largest arena window", format!("{elems} elements, {} in f32", mib(elems * 4)));
        if let (Some(copy), Some(timing)) = (self.copy_gb_per_s, &self.timing) {
            line("copy bandwidth", format!("{copy:.1} GB/s (read and write)"));
            line("timing", timing.clone());
        }
        if let Some(reason) = &self.unusable {
            line("cannot be used", reason.clone());
        }
        text
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Opens the adapter, as the engine does it, and copies; also says how it was timed.
fn bandwidth(adapter: &Adapter, limits: &Limits) -> Result<(f64, String)> {
    let (device, queue) = pollster::block_on(adapter.request_device(&DeviceDescriptor {
        label: Some("fallline info"),
        required_features: adapter.features() & Features::TIMESTAMP_QUERY,
        required_limits: limits.clone(),
        ..Default::default()
    }))?;
    let gpu = Gpu::from_device(device, queue)?;
    let copy = Copy::new(&gpu)?;
    let timer = Timer::new(&gpu, |pass| copy.record(pass))?;
    Ok((copy.measure(&timer)?, timer.describe()))
}
