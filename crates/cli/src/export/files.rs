//! A plan as files: `docs/plan.md`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use fallline::{
    plan::{self, Plan},
    wgpu::Limits,
};
use serde::Serialize;
use tempfile::TempDir;

use crate::exit::usage;

/// What `format` says in every plan, and the version of what follows.
const FORMAT: &str = "fallline-plan";
const VERSION: u32 = 1;

const INDEX: &str = "plan.json";
const CONTENTS: &str = "plan.bin";
const KERNELS: &str = "kernels";

/// The directory of a plan. It is written whole: beside its place, and from there put into it.
#[derive(Debug)]
pub(super) struct Target {
    place: PathBuf,
    /// In the same folder.
    beside: TempDir,
}

impl Target {
    /// Fails if no plan can be written there. What is there stays as it is.
    pub(super) fn open(place: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", place.display());
        let is_free = is_free(place).with_context(cannot)?;
        let error = || anyhow!("it is there, and no plan: choose an empty directory or a new one");
        ensure!(is_free, usage(error().context(cannot())));
        let folder = match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::metadata(folder).with_context(cannot)?;
        let beside = tempfile::Builder::new().prefix(".fallline-").tempdir_in(folder);
        Ok(Self { place: place.to_owned(), beside: beside.with_context(cannot)? })
    }

    /// Puts the plan there.
    pub(super) fn write(self, plan: &Plan) -> anyhow::Result<()> {
        let new = self.beside.path().join("new");
        let put = || -> anyhow::Result<()> {
            write(plan, &new)?;
            if self.place.exists() {
                fs::rename(&self.place, self.beside.path().join("old"))?;
            }
            Ok(fs::rename(&new, &self.place)?)
        };
        put().with_context(|| format!("cannot write {}", self.place.display()))
    }
}

/// Whether there is nothing, an empty directory, or a plan.
fn is_free(place: &Path) -> io::Result<bool> {
    match fs::read_dir(place) {
        Ok(mut entries) => Ok(entries.next().is_none() || place.join(INDEX).is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// `plan.json`: the [`Plan`], and where the rest of it lies.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    format: &'static str,
    version: u32,
    producer: &'static str,
    /// What a device must have beyond WebGPU's default limits.
    required_limits: BTreeMap<&'static str, u64>,
    kernels: Vec<Kernel<'a>>,
    buffers: Vec<Buffer<'a>>,
    bind_groups: &'a [plan::BindGroup],
    pass: &'a [plan::Dispatch],
    step_input: StepInput<'a>,
    groups: &'a [plan::Group],
    tensors: &'a [plan::Tensor],
    reports: &'a plan::Reports,
}

#[derive(Serialize)]
struct Kernel<'a> {
    /// The file.
    wgsl: String,
    #[serde(flatten)]
    kernel: &'a plan::Kernel,
}

#[derive(Serialize)]
struct Buffer<'a> {
    #[serde(flatten)]
    buffer: &'a plan::Buffer,
    /// Where in the buffer they begin, and where they lie in `plan.bin`.
    contents: Option<Contents>,
}

#[derive(Serialize)]
struct Contents {
    offset: u64,
    bytes: Bytes,
}

#[derive(Serialize)]
struct StepInput<'a> {
    #[serde(flatten)]
    input: &'a plan::StepInput,
    bytes: Bytes,
}

/// Bytes of `plan.bin`.
#[derive(Clone, Copy, Serialize)]
struct Bytes {
    at: usize,
    size: usize,
}

fn write(plan: &Plan, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory.join(KERNELS))?;
    let mut all: Vec<u8> = Vec::new();
    let mut put = |bytes: &[u8]| {
        let at = all.len();
        all.extend_from_slice(bytes);
        Bytes { at, size: bytes.len() }
    };
    let buffer = |buffer: &'_ plan::Buffer| {
        let contents = buffer.contents.as_ref();
        contents.map(|c| Contents { offset: c.offset, bytes: put(&c.bytes) })
    };
    let contents: Vec<_> = plan.buffers.iter().map(buffer).collect();
    let step_input = StepInput { input: &plan.step_input, bytes: put(&plan.step_input.bytes) };
    let largest = plan.buffers.iter().map(|buffer| buffer.size).max().unwrap_or(0);
    let is_beyond = largest > Limits::default().max_buffer_size;
    let buffers = plan.buffers.iter().zip(contents);
    let index = Index {
        format: FORMAT,
        version: VERSION,
        producer: concat!("fallline ", env!("CARGO_PKG_VERSION")),
        required_limits: is_beyond.then_some(("maxBufferSize", largest)).into_iter().collect(),
        kernels: plan.kernels.iter().enumerate().map(kernel).collect(),
        buffers: buffers.map(|(buffer, contents)| Buffer { buffer, contents }).collect(),
        bind_groups: &plan.bind_groups,
        pass: &plan.pass,
        step_input,
        groups: &plan.groups,
        tensors: &plan.tensors,
        reports: &plan.reports,
    };
    for Kernel { wgsl, kernel } in &index.kernels {
        fs::write(directory.join(wgsl), &kernel.wgsl)?;
    }
    fs::write(directory.join(INDEX), serde_json::to_string_pretty(&index)? + "\n")?;
    fs::write(directory.join(CONTENTS), all)?;
    Ok(())
}

/// A kernel, with the file that is named for its number and its label.
fn kernel((number, kernel): (usize, &plan::Kernel)) -> Kernel<'_> {
    let stem = kernel.label.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let stem: String = stem.chars().filter(|c| is_plain(*c)).collect();
    Kernel { wgsl: format!("{KERNELS}/{number}-{stem}.wgsl"), kernel }
}
