//! The binary, run as a user runs it.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("stdout is text"),
            err: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

impl Ran {
    /// It ended well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with one clear line on stderr, which says this.
    #[track_caller]
    pub(crate) fn says(self, expected: &str) {
        self.ends(1, expected);
    }

    /// It was called wrongly, which one clear line on stderr says.
    #[track_caller]
    pub(crate) fn refuses(self, expected: &str) {
        self.ends(2, expected);
    }

    #[track_caller]
    fn ends(self, code: i32, expected: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("fallline: ") && self.err.contains(expected), "{self:?}");
    }
}

/// Runs `fallline` with these arguments.
pub(crate) fn fallline<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    run(Command::new(binary()).args(arguments))
}

/// Runs `fallline` with nobody who reads what it prints, as `fallline … | true`.
pub(crate) fn unread<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    // The reading end is dropped before there is anything to read.
    let (_, closed) = std::io::pipe().expect("a pipe");
    run(Command::new(binary()).args(arguments).stdout(closed))
}

/// Runs a command among the files of this test.
pub(crate) fn run(command: &mut Command) -> Ran {
    run_in(&scratch(""), command)
}

/// Runs a command in a folder.
pub(crate) fn run_in(folder: &Path, command: &mut Command) -> Ran {
    // Mesa's device-select layer complains on stderr where there is no display.
    command.env("NODEVICE_SELECT", "1").current_dir(folder);
    command.stdin(Stdio::null()).output().expect("the binary was built").into()
}

/// A file of this test, in a folder of its own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    // Tests run each in a thread of its name, or one after the other in one thread.
    let test = thread::current().name().unwrap_or("tests").replace("::", ".");
    let folder = told("CARGO_TARGET_TMPDIR", env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

/// A golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    repository("tests/golden").join(name)
}

/// A file of the repository.
pub(crate) fn repository(file: &str) -> PathBuf {
    package().join("../..").join(file)
}

/// The folder of this package.
pub(crate) fn package() -> PathBuf {
    told("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    told("CARGO_BIN_EXE_fallline", env!("CARGO_BIN_EXE_fallline"))
}

/// A place that the environment tells, or else that of the build: tests may run on another machine.
fn told(variable: &str, built: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_else(|| built.into()).into()
}

/// Replays a trace.
pub(crate) fn replay(trace: &Path, config: &Path, more: &[&str]) -> Ran {
    let mut arguments: Vec<OsString> = vec!["replay".into(), trace.into(), "--config".into()];
    arguments.push(config.into());
    arguments.extend(more.iter().map(OsString::from));
    fallline(&arguments)
}

/// Quantizes or dequantizes a file.
pub(crate) fn convert(command: &str, from: &Path, to: &Path, more: &[&str]) -> Ran {
    let mut arguments: Vec<OsString> = vec![command.into(), from.into(), to.into()];
    arguments.extend(more.iter().map(OsString::from));
    fallline(&arguments)
}

/// A trace of these f32 tensors, given as (name, shape, value of every element).
pub(crate) fn trace(name: &str, tensors: &[(&str, &[usize], f32)]) -> PathBuf {
    let in_f32 = |&(name, shape, value)| (name, Dtype::F32, shape, value);
    trace_in(name, &tensors.iter().map(in_f32).collect::<Vec<_>>())
}

/// A trace of these tensors, given as (name, format, shape, value of every element).
pub(crate) fn trace_in(name: &str, tensors: &[(&str, Dtype, &[usize], f32)]) -> PathBuf {
    let tensor = |&(name, dtype, shape, value): &(&str, Dtype, &[usize], f32)| {
        Tensor::new(name, dtype, shape, &vec![value; shape.iter().product()])
    };
    write(name, &tensors.iter().map(tensor).collect::<Vec<_>>(), HashMap::new())
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    pub(crate) fn new(name: &str, dtype: Dtype, shape: &[usize], values: &[f32]) -> Self {
        let bytes = |value: &f32| match dtype {
            Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
            Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
            Dtype::F64 => f64::from(*value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        let bytes = values.iter().flat_map(bytes).collect();
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }

    /// The values of a tensor in F32, F16 or BF16.
    pub(crate) fn values(&self) -> Vec<f32> {
        let halves = || self.bytes.as_chunks::<2>().0.iter().copied();
        match self.dtype {
            Dtype::F16 => halves().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            _ => self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        }
    }
}

/// A file of these tensors.
pub(crate) fn write(name: &str, tensors: &[Tensor], metadata: HashMap<String, String>) -> PathBuf {
    let views = tensors.iter().map(|Tensor { name, dtype, shape, bytes }| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("whole elements"))
    });
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let path = scratch(name);
    fs::write(&path, safetensors::serialize(views, metadata).expect("a file")).expect("written");
    path
}

/// The tensors of a file, by name, and its metadata.
pub(crate) fn read(path: &Path) -> (Vec<Tensor>, HashMap<String, String>) {
    let bytes = fs::read(path).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a whole file");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole file").tensors();
    let tensor = |(name, view): (String, TensorView<'_>)| Tensor {
        name,
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let mut tensors: Vec<Tensor> = tensors.into_iter().map(tensor).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    (tensors, header.metadata().clone().unwrap_or_default())
}

/// A config of this text.
pub(crate) fn config(name: &str, text: &str) -> PathBuf {
    let path = scratch(name);
    fs::write(&path, text).expect("written");
    path
}
