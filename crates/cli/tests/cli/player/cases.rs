//! Optimizers that are made twice: by options of `fallline export`, and by the engine, which takes the steps.

use fallline::{
    Adafactor, AdamW, Dtype, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options, Precision,
    StateFormat, TensorSpec, rule_by_name,
};

pub(super) const SHAPES: [(&str, &[usize]); 4] =
    [("weight", &[130, 100]), ("bias", &[257]), ("scale", &[]), ("embedding", &[41, 120])];

/// An optimizer of the engine's that is the one of some options, and how it is stepped.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) options: Vec<&'static str>,
    /// As `--config`.
    pub(super) config: Option<&'static str>,
    pub(super) build: Box<dyn Fn(&Gpu) -> Optimizer>,
    pub(super) overflows: bool,
    /// Changes in step 4.
    pub(super) weight_decay: Option<f64>,
}

impl Case {
    fn new(
        name: &str,
        options: &[&'static str],
        build: impl Fn(&Gpu) -> Optimizer + 'static,
    ) -> Self {
        let (name, options, build) = (name.to_owned(), options.to_vec(), Box::new(build));
        Self { name, options, config: None, build, overflows: false, weight_decay: None }
    }
}

fn specs(with: impl Fn(TensorSpec) -> TensorSpec) -> Vec<TensorSpec> {
    SHAPES.iter().map(|(name, shape)| with(TensorSpec::new(*name, *shape))).collect()
}

fn dynamic_scale(gpu: &Gpu) -> LossScaler {
    let scale = DynamicScale { init_scale: 1024.0, ..DynamicScale::default() };
    LossScaler::dynamic(gpu, scale).unwrap()
}

/// What a step can bring, each once.
pub(super) fn chosen() -> Vec<Case> {
    let mut plain = Case::new("plain", &["--lr", "0.01"], |gpu| {
        let groups = [Group::new("all", AdamW::new().lr(0.01))];
        Optimizer::arena(gpu, &groups, &specs(|spec| spec)).unwrap()
    });
    plain.weight_decay = Some(0.25);

    let options = ["--state", "int8", "--clip", "0.5", "--loss-scale", "dynamic:1024"];
    let mut scaled = Case::new("scaled", &options, |gpu| {
        let groups = [Group::new("all", AdamW::new()).state(StateFormat::Int8)];
        let loss_scaler = Some(dynamic_scale(gpu));
        let options = Options { max_norm: Some(0.5), loss_scaler, ..Options::default() };
        Optimizer::arena_with(gpu, &groups, &specs(|spec| spec), &options).unwrap()
    });
    scaled.overflows = true;

    #[rustfmt::skip]
    let options = [
        "--param", "bf16", "--master", "remainder", "--grad", "f16", "--state", "bf16",
        "--caution", "--ema-decay", "0.9", "--seed", "7",
    ];
    let sixteen_bits = Case::new("sixteen-bits", &options, |gpu| {
        let group = Group::new("all", AdamW::new()).state(StateFormat::Bf16);
        let groups = [group.caution(true).ema_decay(0.9)];
        let formats = |spec: TensorSpec| {
            spec.dtype(Dtype::Bf16).grad_dtype(Dtype::F16).precision(Precision::Remainder)
        };
        let options = Options { seed: 7, ..Options::default() };
        Optimizer::arena_with(gpu, &groups, &specs(formats), &options).unwrap()
    });

    let mut groups = Case::new("groups", &[], |gpu| {
        let groups = [
            Group::new("optimizer", Adafactor::new().lr(0.02)),
            Group::new("[[group]] number 1", AdamW::new().lr(0.001).weight_decay(0.0)),
        ];
        let group = |spec: TensorSpec| {
            let number = usize::from(spec.shape.len() < 2);
            spec.in_group(["optimizer", "[[group]] number 1"][number])
        };
        let options = Options { clip_value: Some(0.125), ..Options::default() };
        Optimizer::arena_with(gpu, &groups, &specs(group), &options).unwrap()
    });
    groups.config = Some(
        "[optimizer]\nrule = 'adafactor'\nlr = 0.02\n[clip]\nvalue = 0.125\n[[group]]\n\
         max_dims = 1\nrule = 'adamw'\nlr = 0.001\nweight_decay = 0.0\n",
    );
    vec![plain, scaled, sixteen_bits, groups]
}

/// What a parameter may be kept in, and the option for it.
const PRECISIONS: [(Dtype, Precision, &[&str]); 8] = [
    (Dtype::F32, Precision::Nearest, &[]),
    (Dtype::F16, Precision::Nearest, &[]),
    (Dtype::F16, Precision::Master, &["--master", "f32"]),
    (Dtype::Bf16, Precision::Nearest, &[]),
    (Dtype::Bf16, Precision::Stochastic, &["--stochastic-rounding"]),
    (Dtype::Bf16, Precision::Master, &["--master", "f32"]),
    (Dtype::Bf16, Precision::Remainder, &["--master", "remainder"]),
    (Dtype::Bf16, Precision::Remainder8, &["--master", "remainder8"]),
];

/// Rules of every kind: of elements, of rows and columns, of blocks, of sums over each tensor and over all.
const RULES: [&str; 8] =
    ["sgd", "lion", "adafactor_hf", "adam_mini", "lamb", "prodigy", "rprop", "schedulefree_adamw"];

/// These rules once each, while formats of gradients and of state, clipping and scaling take turns, and every precision has
/// its own.
pub(super) fn of_rules() -> Vec<Case> {
    let case = |(number, rule): (usize, &'static str)| {
        let (param, precision, keep) = PRECISIONS[number];
        let grad = Dtype::ALL[number % Dtype::ALL.len()];
        let state = StateFormat::ALL[number % StateFormat::ALL.len()];
        let [clips, scales] = [number / 2 % 2 == 1, number / 4 % 2 == 1];
        let mut options = vec!["--rule", rule, "--param", param.name(), "--grad", grad.name()];
        options.extend(["--state", state.name()]);
        options.extend(keep);
        options.extend([["--clip", "0.5"]].iter().filter(|_| clips).flatten());
        options.extend([["--loss-scale", "dynamic:1024"]].iter().filter(|_| scales).flatten());
        let build = move |gpu: &Gpu| {
            let rule = rule_by_name(rule).expect("its name is listed");
            let groups = [Group::new("all", rule).state(state)];
            let formats =
                |spec: TensorSpec| spec.dtype(param).grad_dtype(grad).precision(precision);
            let options = Options {
                max_norm: clips.then_some(0.5),
                loss_scaler: scales.then(|| dynamic_scale(gpu)),
                ..Options::default()
            };
            Optimizer::arena_with(gpu, &groups, &specs(formats), &options).unwrap()
        };
        Case { overflows: scales, ..Case::new(rule, &options, build) }
    };
    RULES.into_iter().enumerate().map(case).collect()
}
