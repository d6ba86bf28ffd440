//! `fallline bench`: how fast is a step, and how fast could it be?
//!
//! | module      | what it holds                                                          |
//! |-------------|------------------------------------------------------------------------|
//! | `models`    | the parameter tensors of real models                                   |
//! | `subject`   | the optimizer that is measured                                         |
//! | `baselines` | what runtimes do without fallline                                      |
//! | `memory`    | what combinations of formats hold in memory                            |
//! | `moving`    | what it costs that gradients move                                      |
//! | `measure`   | the rounds                                                             |
//! | `row`       | the result                                                             |
//! | `overview`  | a row for each rule, as one table                                      |
//! | `compare`   | an earlier result beside a later one                                   |

mod baselines;
mod compare;
mod measure;
mod memory;
mod models;
mod moving;
mod overview;
mod row;
mod subject;

use std::sync::Arc;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use fallline::{Gpu, IntoRule, LaneVec4s, Rprop, Rule, Sgd};
use indicatif::ProgressBar;

use self::{
    compare::{Key, Results},
    measure::{Bench, WARMUP_ROUNDS},
    models::Model,
    overview::Overview,
    row::{Row, Subject},
};
use crate::{
    Outcome,
    around::Around,
    copy::Copy,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::{Output, Outputs},
    precision::{Numerics, PrecisionArgs},
    print,
    rule::RuleName,
    timing::Timer,
};

/// Options of `fallline bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The models whose parameters are updated; several with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "gpt2-small")]
    model: Vec<Model>,

    /// The rules; several with commas. SGD is measured with momentum 0.9
    #[arg(long, value_enum, value_delimiter = ',', default_value = "adamw")]
    rule: Vec<RuleName>,

    /// Timed rounds of each row
    #[arg(long, value_name = "N", default_value = "20", value_parser = steps)]
    steps: usize,

    /// Scale every dimension that grows with the model's width, for small machines
    #[arg(long, value_name = "FRACTION", default_value = "1", value_parser = width)]
    width: f64,

    /// Parameters and gradients in buffers of the caller's, not the engine's
    #[arg(long)]
    borrowed: bool,

    /// vec4s that a lane of an update takes, 1 or 2; both with a comma, to see which the device is faster with. The bits of
    /// a step are the same
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "2", value_parser = lane_vec4s)]
    lane_vec4s: Vec<LaneVec4s>,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    around: Around,

    /// Do not measure the baselines
    #[arg(long)]
    no_baselines: bool,

    /// Instead of times, the memory that each sensible combination of formats holds
    #[arg(long, conflicts_with_all = ["steps", "borrowed", "no_baselines", "lane_vec4s", "PrecisionArgs", "Around"])]
    memory: bool,

    /// Instead of the times of steps, what it costs the host that gradients lie elsewhere in every step
    #[arg(long, requires = "borrowed", conflicts_with_all = ["no_baselines", "memory", "Around"])]
    moving: bool,

    /// Measure every rule on a single model, without baselines, and print one table
    #[arg(long, conflicts_with_all = ["rule", "memory", "moving"])]
    all_rules: bool,

    /// Print that table in Markdown, with what each rule keeps
    #[arg(long, requires = "all_rules")]
    markdown: bool,

    /// Print how the times differ from those of an earlier --json, and whether by more than their spread
    #[arg(long, value_name = "OLD.json", conflicts_with_all = ["memory", "moving"])]
    compare: Option<PathBuf>,

    /// With --compare: measure nothing, and compare with this result
    #[arg(
        value_name = "NEW.json",
        requires = "compare",
        conflicts_with_all = [
            "model", "rule", "steps", "width", "borrowed", "no_baselines", "all_rules", "json", "PrecisionArgs", "Around"
        ]
    )]
    new: Option<PathBuf>,

    /// Write the rows to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const HELP: &str = "\
Columns:
  ms/step     median of the rounds, and the fastest and the slowest
  GB/s        the bytes that the rule must move, by that time
  copy        GB/s of a plain copy, read and write
  roofline    time of the step's bare loads and stores by the time of the step: median and quartiles
              of the rounds (what clipping and scaling read beforehand is not among these loads;
              Lookahead's slow weights are, though most steps do not touch them)
  encode      host time of recording a step
  build       host time of building the optimizer, with the kernels that its rule and formats need
  plain       a step in f32 that neither clips nor scales, with nothing around the rule; (x): the step
              by it, median and quartiles
  per tensor  a fused kernel with a dispatch for each tensor; (x): by the time of the step
  unfused     a kernel for each operation and tensor; (x): by the time of the step
With --all-rules, bytes for each parameter:
  state, int8 what the rule keeps in GPU memory, in the formats that were asked for and in int8
  moved       what a step must load and store
With --compare, a line for each of ms/step, roofline and copy: the medians of the old and the new rounds,
their ratio, and whether it differs from 1 by more than its spread, which is an interval that holds 95 % of
the ratios when the rounds of both are drawn anew. Rows of the same model, rule and options are compared;
others are named, and so are another device, driver or version. It ends with 0 if a step is slower, too.
With --memory, bytes of GPU memory for each parameter, by the sizes of the buffers:
  B param     parameters and gradients
  B state     the rule's state and what is kept beside parameters, padding included
With --borrowed --moving, host time, the median of the rounds, and their quartiles:
  places us   what places add to recording a step, with what moved since the step before
  encode us   recording a step without places

Examples:
  fallline bench                                GPT-2 small with AdamW, and both baselines
  fallline bench --model resnet50,vit-b16 --rule adamw,sgd,lion --json rows.json
  fallline bench --clip 1 --loss-scale dynamic  against the step without them
  fallline bench --param bf16 --master remainder --state bf16
  fallline bench --ema-decay 0.999              against the step without an average
  fallline bench --lane-vec4s 1,2               with one vec4 a lane of an update, and with two
  fallline bench --memory                       bytes for each parameter, by formats
  fallline bench --borrowed --moving            gradients that lie elsewhere in every step
  fallline bench --all-rules                    every rule, as one table
  fallline bench --json old.json                before a change, and after it:
  fallline bench --compare old.json             is a step slower than it was?
  fallline bench --compare old.json new.json    the same, of two results
  fallline bench --width 0.25 --steps 5         a smaller model on a smaller machine";

fn steps(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(steps @ 1..=1_000_000) => Ok(steps),
        _ => Err("must be a number from 1 to 1000000".into()),
    }
}

fn lane_vec4s(text: &str) -> Result<LaneVec4s, String> {
    match text {
        "1" => Ok(LaneVec4s::One),
        "2" => Ok(LaneVec4s::Two),
        _ => Err("must be 1 or 2".into()),
    }
}

fn width(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(width) if width > 0.0 && width <= 1.0 => Ok(width),
        _ => Err("must be a number above 0, at most 1".into()),
    }
}

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> Result<Outcome> {
    let numerics = args.precision.numerics().map_err(usage)?;
    if args.all_rules && args.model.len() > 1 {
        return Err(usage(anyhow!("--all-rules takes one --model, found {}", args.model.len())));
    }
    if (args.all_rules || args.moving) && args.lane_vec4s.len() > 1 {
        let found = args.lane_vec4s.len();
        return Err(usage(anyhow!("a table takes one --lane-vec4s, found {found}")));
    }
    let inputs: Vec<&Path> = args.compare.as_deref().into_iter().collect();
    let json = Outputs::beside(&inputs).open_any(args.json.as_deref())?;
    let old = args.compare.as_deref().map(Results::read).transpose()?;
    if let (Some(old), Some(new)) = (&old, &args.new) {
        print::print(compare::text(old, &Results::read(new)?)?)?;
        return Ok(Outcome::Good);
    }
    let gpu = device.open()?.with_lane_vec4s(args.lane_vec4s[0]);
    if args.memory {
        return memory(args, &gpu, json.as_ref());
    }
    if args.moving {
        return moving(args, &gpu, &numerics, json.as_ref());
    }
    let copy = Copy::new(&gpu)?;
    let timer = Timer::new(&gpu, |pass| copy.record(pass))?;
    let adapter = AdapterReport::new(&gpu.adapter_info());
    let around =
        args.around.in_words().map(|around| format!(", with {around}")).unwrap_or_default();
    print::print(print::wrapped(&format!(
        "{}, {}, {}; timed by {}; {numerics}, {}{around}\n\n",
        adapter.name,
        adapter.backend,
        adapter.driver,
        timer.describe(),
        if args.borrowed { "borrowed" } else { "in the arena" },
    )))?;
    let mut bench = Bench {
        gpu,
        timer,
        copy,
        rounds: args.steps,
        borrowed: args.borrowed,
        numerics,
        around: args.around.with_defaults(),
        baselines: !args.no_baselines && !args.all_rules,
    };
    let rules = if args.all_rules { RuleName::value_variants() } else { &args.rule[..] };
    if let Some(old) = &old {
        comparable(old, &bench, args, rules)?;
    }
    let variants = args.model.len() * rules.len() * args.lane_vec4s.len();
    let len = variants * (WARMUP_ROUNDS + args.steps);
    let bar = print::progress(len, "bench");
    let (rows, tables) = if args.all_rules {
        let Overview { rows, table } =
            Overview::measure(&bench, (args.model[0], args.width), rules, &bar)?;
        (rows, if args.markdown { table.markdown() } else { table.text() })
    } else {
        let rows = measure_each(&mut bench, args, &bar)?;
        let tables = row::tables(&rows);
        (rows, tables)
    };
    bar.finish_and_clear();
    print::print(tables)?;
    if let Some(json) = json {
        json.write_json(&rows)?;
    }
    if let Some(old) = old {
        print::print(format_args!("\n{}", compare::text(&old, &Results::measured(&rows)?)?))?;
    }
    Ok(Outcome::Good)
}

/// A row for each model and rule, and number of vec4s a lane.
fn measure_each(bench: &mut Bench, args: &Args, bar: &ProgressBar) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &model in &args.model {
        let specs = model.tensors(args.width);
        let each = |name| args.lane_vec4s.iter().map(move |lane_vec4s| (name, *lane_vec4s));
        for (name, lane_vec4s) in args.rule.iter().copied().flat_map(each) {
            let rule = rule(name);
            bench.gpu = bench.gpu.with_lane_vec4s(lane_vec4s);
            let samples = bench
                .measure(rule.clone(), &specs, bar)
                .with_context(|| format!("{} with {name}", model.name()))?;
            rows.push(Row::new(bench, (model, name, args.width), &specs, &*rule, &samples));
            // What was dropped is given back to the device here, before the next row asks for it.
            bench.gpu.wait()?;
        }
    }
    Ok(rows)
}

/// Fails if nothing that will be measured can be compared: before it takes its time.
fn comparable(old: &Results, bench: &Bench, args: &Args, rules: &[RuleName]) -> Result<()> {
    let mut keys = Vec::new();
    for &model in &args.model {
        for &name in rules {
            for lane_vec4s in &args.lane_vec4s {
                let subject = bench.subject((model, name, args.width));
                keys.push(Key::new(&Subject { lane_vec4s: lane_vec4s.count(), ..subject })?);
            }
        }
    }
    compare::ensure_common(old, &keys.iter().collect::<Vec<_>>(), "to be measured")
}

/// What a short measurement finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    pub(crate) params: u64,
    pub(crate) ms_per_step: f64,
    pub(crate) gb_per_s: f64,
    pub(crate) copy_gb_per_s: f64,
    /// Time of the step's bare memory traffic by the time of the step.
    pub(crate) roofline: f64,
    /// How it was timed.
    pub(crate) timing: &'static str,
}

/// Measures AdamW on one tensor in some rounds, without baselines.
pub(crate) fn short(gpu: &Gpu, numerics: Numerics, width: f64, rounds: usize) -> Result<Short> {
    let copy = Copy::new(gpu)?;
    let timer = Timer::new(gpu, |pass| copy.record(pass))?;
    let bench = Bench {
        gpu: gpu.clone(),
        timer,
        copy,
        rounds,
        borrowed: false,
        numerics,
        around: Around::default().with_defaults(),
        baselines: false,
    };
    let (model, name) = (Model::OneBig, RuleName::ADAMW);
    let (specs, rule) = (model.tensors(width), rule(name));
    let samples = bench.measure(rule.clone(), &specs, &ProgressBar::hidden())?;
    Ok(Row::new(&bench, (model, name, width), &specs, &*rule, &samples).short())
}

/// What the models hold, instead of how fast they are.
fn memory(args: &Args, gpu: &Gpu, json: Option<&Output>) -> Result<Outcome> {
    let mut rows = Vec::new();
    for &model in &args.model {
        let specs = model.tensors(args.width);
        for &name in &args.rule {
            let subject = (model.name(), name.to_string(), rule(name));
            let held = memory::measure(gpu, subject, &specs);
            rows.extend(held.with_context(|| format!("{} with {name}", model.name()))?);
        }
    }
    print::print(memory::table(&rows))?;
    if let Some(json) = json {
        json.write_json(&rows)?;
    }
    Ok(Outcome::Good)
}

/// What it costs that gradients move, instead of how fast steps are.
fn moving(args: &Args, gpu: &Gpu, numerics: &Numerics, json: Option<&Output>) -> Result<Outcome> {
    let mut rows = Vec::new();
    for &model in &args.model {
        let specs = model.tensors(args.width);
        for &name in &args.rule {
            let subject = (model.name(), name.to_string(), rule(name));
            let measured = moving::measure(gpu, subject, (&specs, numerics), args.steps);
            rows.extend(measured.with_context(|| format!("{} with {name}", model.name()))?);
            gpu.wait()?;
        }
    }
    print::print(moving::table(&rows))?;
    if let Some(json) = json {
        json.write_json(&rows)?;
    }
    Ok(Outcome::Good)
}

/// The rule with its defaults, and SGD with the momentum that it is used with. Where the learning rate is fixed, it is
/// the one that is measured with.
fn rule(name: RuleName) -> Arc<dyn Rule> {
    match name.as_str() {
        "sgd" => Sgd::new().momentum(0.9).into_rule(),
        "rprop" => Rprop::new().lr(measure::LR).step_sizes((0.0, measure::LR)).into_rule(),
        _ => name.rule(),
    }
}
