//! `fallline export`: the step of an optimizer as data, for runtimes that are not in Rust.
//!
//! | module  | what it holds                                    |
//! |---------|--------------------------------------------------|
//! | `model` | names and shapes, from JSON                      |
//! | `files` | the plan in a directory: `docs/plan.md`          |

mod files;
mod model;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use fallline::{
    Gpu, Group, Optimizer, Options, Rule, Select, TensorSpec, deserialize_rule, plan::Plan,
    wgpu::Limits,
};
use serde_json::json;

use crate::{
    Outcome,
    around::Around,
    config::{Assigned, Config, Frozen},
    exit::usage,
    precision::PrecisionArgs,
    print,
    rule::RuleName,
};

/// Options of `fallline export`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Names and shapes of the parameters, a JSON file: {"weight": [128, 784], "bias": [128]}
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// The optimizer, with its reference's hyperparameters
    #[arg(long, value_enum, default_value_t = RuleName::ADAMW)]
    rule: RuleName,

    /// Its learning rate, which each step may bring anew [default: the rule's]
    #[arg(long, value_name = "LR", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// The optimizer and its groups instead, a TOML file: see `fallline replay --help`
    #[arg(long, value_name = "FILE", conflicts_with_all = OWN_OPTIONS.into_iter().chain(Around::KEYS))]
    config: Option<PathBuf>,

    /// Seed of the rounding of bf16 state and of parameters of 16 bits
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,

    /// For devices whose largest buffer has this many bytes at least; WebGPU promises 268435456
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = Limits::default().max_buffer_size,
        value_parser = clap::value_parser!(u64).range(1 << 16..1 << 31)
    )]
    max_buffer_size: u64,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    around: Around,

    /// Write the plan into this directory, in the place of a plan that is there
    #[arg(short = 'o', long, value_name = "DIR")]
    out: PathBuf,
}

/// What a config says itself, beside what comes around a rule. The formats of parameters and gradients are the model's.
const OWN_OPTIONS: [&str; 8] =
    ["rule", "lr", "seed", "master", "stochastic_rounding", "state", "loss_scale", "clip"];

const HELP: &str = "\
A plan is all that a program without Rust needs to take the steps of an optimizer on a WebGPU device:
  plan.json                    kernels, buffers, bind groups, the compute pass, where each tensor lies,
                               and what the host writes for a step
  plan.bin                     what buffers hold at the beginning
  kernels/*.wgsl               the kernels, whole
docs/plan.md describes them; tools/player.mjs, of a hundred lines, plays a plan in a browser, Node or Deno, and
tools/player.hpp in C++. A plan is valid on every device with WebGPU's default limits, unless --max-buffer-size is
more, and takes no GPU to make.

Examples:
  fallline export --model shapes.json -o plan   AdamW
  fallline export --model shapes.json --rule lion --lr 1e-4 --state int8 --clip 1 -o plan
  fallline export --model shapes.json --param bf16 --master remainder --loss-scale dynamic -o plan
  fallline export --model shapes.json --config groups.toml -o plan
                                                groups, and hyperparameters other than the learning rate

From PyTorch, the names and shapes of a model:
  json.dump({name: list(p.shape) for name, p in model.named_parameters()}, file)";

pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let target = files::Target::open(&args.out)?;
    let specs = model::read(&args.model)?;
    // What the least device can do, every device can.
    let max_buffer_size = args.max_buffer_size;
    let gpu = Gpu::noop(&Limits { max_buffer_size, ..Limits::default() })?;
    let Chosen { groups, specs, frozen, options } = args.choose(&gpu, specs)?;
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &specs, &options)?;
    for select in frozen {
        optimizer.freeze(select)?;
    }
    let plan = optimizer.read_plan()?;
    target.write(&plan)?;
    print::print(format!("{}\nThe plan is in {}\n", summary(&plan), print::path(&args.out)))?;
    Ok(Outcome::Good)
}

/// What an optimizer is made of.
#[derive(Debug)]
struct Chosen {
    groups: Vec<Group>,
    specs: Vec<TensorSpec>,
    frozen: Vec<Select>,
    options: Options,
}

impl Args {
    fn choose(&self, gpu: &Gpu, specs: Vec<TensorSpec>) -> anyhow::Result<Chosen> {
        let numerics = self.precision.numerics().map_err(usage)?;
        let specs = specs.into_iter().map(|spec| numerics.spec(spec));
        if let Some(path) = &self.config {
            let config = Config::read(path).map_err(usage)?;
            let options = config.options(gpu, self.seed)?;
            return of_config(&config, specs, options)
                .with_context(|| path.display().to_string())
                .map_err(usage);
        }
        let group = numerics.group(self.around.of(Group::new("all", self.rule().map_err(usage)?)));
        let options = numerics.options(gpu, self.seed)?;
        Ok(Chosen { groups: vec![group], specs: specs.collect(), frozen: Vec::new(), options })
    }

    fn rule(&self) -> anyhow::Result<Arc<dyn Rule>> {
        let Some(lr) = self.lr else { return Ok(self.rule.rule()) };
        // The kernels take it as f32.
        let fits = lr >= 0.0 && lr <= f64::from(f32::MAX);
        ensure!(fits, "--lr must be a finite number >= 0, found {lr:?}");
        Ok(deserialize_rule(self.rule.as_str(), json!({ "lr": lr }))?)
    }
}

/// The optimizer that a config describes.
fn of_config(
    config: &Config,
    specs: impl Iterator<Item = TensorSpec>,
    options: Options,
) -> anyhow::Result<Chosen> {
    ensure!(
        !config.has_schedules(),
        "a plan has no schedules: learning rates and weight decays come with each step"
    );
    let Assigned { specs, groups, frozen } = config.assign(specs)?;
    let steady = |(frozen, select): (Frozen, Select)| {
        ensure!(
            frozen == Frozen::default(),
            "frozen must be true or false: a plan does not count steps"
        );
        Ok(select)
    };
    let frozen = frozen.into_iter().map(steady).collect::<anyhow::Result<_>>()?;
    Ok(Chosen { groups, specs, frozen, options })
}

/// What a plan has, in two lines.
fn summary(plan: &Plan) -> String {
    let mut rules: Vec<&str> = plan.groups.iter().map(|group| group.rule).collect();
    rules.dedup();
    let elems: usize = plan.tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum();
    let bytes: u64 = plan.buffers.iter().map(|buffer| buffer.size).sum();
    let count = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    format!(
        "{} for {}, {elems} parameters in all\n{} of {} in one pass, {} with {bytes} bytes in all",
        rules.join(", "),
        count(plan.tensors.len(), "tensor", "tensors"),
        count(plan.pass.len(), "dispatch", "dispatches"),
        count(plan.kernels.len(), "kernel", "kernels"),
        count(plan.buffers.len(), "buffer", "buffers"),
    )
}
