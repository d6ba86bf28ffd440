//! Whatever can be combined, in all pairs and not in all combinations: every rule, format, place, clip and option with
//! every other, a few steps beside the twin.
//!
//! Before each step the twin takes what the engine has, so that what is compared is one step, within what the formats of
//! its results round away; and the step begins at whatever the combination has made of the steps before.

use std::collections::HashMap;

use fallline::{
    BorrowedTensor, BufferRange, Dtype, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options,
    Precision, RULE_NAMES, Slot, StateFormat, Step, TensorId, TensorSpec, wgpu::BufferUsages,
};
use fallline_reference::{
    self as reference, Tensor,
    design::{self, Pair},
    formats::{bf16, f16},
};

use crate::{
    common::{Case, FORMATS, Rng, buffer, cases, gpu, in_blocks_of, write_grads},
    options::Choice,
};

/// Of whole vec4s: ends that are not have kernels of their own, which `formats` steps in every format.
const SHAPES: [&[usize]; 2] = [&[33, 24], &[300]];
/// In the second Lookahead goes back, an average begins, and state is what a format has made of the first.
const STEPS: u64 = 2;

/// Where parameters and gradients lie.
#[derive(Clone, Copy, Debug)]
enum Site {
    Arena,
    /// A buffer for each.
    Apart,
    /// Those of a tensor in one buffer.
    Together,
}

/// What becomes of gradients before the rule sees them.
#[derive(Clone, Copy, Debug)]
enum Clip {
    None,
    Norm,
    Value,
    Scaled,
    All,
}

const MAX_NORM: f64 = 2.0;
const CLIP_VALUE: f32 = 0.08;
const LOSS_SCALE: f32 = 64.0;

const SITES: [Site; 3] = [Site::Arena, Site::Apart, Site::Together];
const CLIPS: [Clip; 5] = [Clip::None, Clip::Norm, Clip::Value, Clip::Scaled, Clip::All];

/// One that is the same but for its first steps is in `options`.
const OPTIONS: [Option<Choice>; 7] = [
    None,
    Some(Choice::Caution),
    Some(Choice::CautiousDecay),
    Some(Choice::UpdateClipping),
    Some(Choice::Lookahead),
    Some(Choice::Ema),
    Some(Choice::Swa),
];

const RULE: usize = 0;
const OPTION: usize = 1;
const PARAM: usize = 2;
const PRECISION: usize = 3;

/// Values of each factor: rules, options, formats of parameters, precisions, formats of gradients and state, places,
/// clips.
fn sizes() -> [usize; 8] {
    let formats =
        [Dtype::ALL.len(), Precision::ALL.len(), Dtype::ALL.len(), StateFormat::ALL.len()];
    let [param, precision, grad, state] = formats;
    [RULE_NAMES.len(), OPTIONS.len(), param, precision, grad, state, SITES.len(), CLIPS.len()]
}

/// A rule's cases that may have an option around them.
fn cases_with(name: &str, option: Option<Choice>) -> Vec<Case> {
    let may_have = |case: &Case| match option {
        None | Some(Choice::Ema | Choice::EmaWarmup | Choice::Swa) => true,
        Some(Choice::CautiousDecay) => case.rule.has_decoupled_decay(),
        Some(Choice::Caution | Choice::UpdateClipping | Choice::Lookahead) => {
            !case.rule.moves_state()
        }
    };
    cases().into_iter().filter(|case| case.rule.name() == name && may_have(case)).collect()
}

/// Whether two values go together: a precision with a format, an option with a rule. All others do.
fn may_be((a, b): Pair) -> bool {
    match (a, b) {
        ((PARAM, param), (PRECISION, precision)) => {
            Precision::ALL[precision].dtypes().contains(&Dtype::ALL[param])
        }
        ((RULE, rule), (OPTION, option)) => {
            !cases_with(RULE_NAMES[rule], OPTIONS[option]).is_empty()
        }
        _ => true,
    }
}

/// A combination.
#[derive(Clone, Debug)]
struct Combination {
    case: Case,
    option: Option<Choice>,
    param: Dtype,
    precision: Precision,
    grad: Dtype,
    state: StateFormat,
    site: Site,
    clip: Clip,
}

/// Those of a design; of a rule's cases the one that has come least often has its turn.
fn combinations(rows: &[Vec<usize>]) -> Vec<Combination> {
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut combination = |row: &Vec<usize>| {
        let [rule, option, param, precision, grad, state, site, clip] = row[..] else {
            panic!("a value of each factor: {row:?}");
        };
        let key = |case: &Case| format!("{:?}", case.rule);
        let cases = cases_with(RULE_NAMES[rule], OPTIONS[option]).into_iter();
        let case = cases.min_by_key(|case| turns.get(&key(case)).copied());
        let case = case.expect("a rule and an option that it may have");
        *turns.entry(key(&case)).or_default() += 1;
        Combination {
            case,
            option: OPTIONS[option],
            param: Dtype::ALL[param],
            precision: Precision::ALL[precision],
            grad: Dtype::ALL[grad],
            state: StateFormat::ALL[state],
            site: SITES[site],
            clip: CLIPS[clip],
        }
    };
    rows.iter().map(&mut combination).collect()
}

fn encode_decode(dtype: Dtype, value: f32) -> f32 {
    match dtype {
        Dtype::F16 => f16::decode(f16::encode(value)),
        Dtype::Bf16 => bf16::decode(bf16::encode(value)),
        _ => value,
    }
}

impl Combination {
    fn group(&self) -> Group {
        let group = Group::new("all", self.case.rule.clone()).state(self.state).min_state_elems(0);
        self.option.map_or(group.clone(), |option| option.of(group))
    }

    fn options(&self, gpu: &Gpu) -> Options {
        let mut options = Options { seed: 5, ..Options::default() };
        if matches!(self.clip, Clip::Norm | Clip::All) {
            options.max_norm = Some(MAX_NORM);
        }
        if matches!(self.clip, Clip::Value | Clip::All) {
            options.clip_value = Some(CLIP_VALUE.into());
        }
        if matches!(self.clip, Clip::Scaled | Clip::All) {
            let init_scale = LOSS_SCALE.into();
            let rule = DynamicScale { init_scale, ..DynamicScale::default() };
            options.loss_scaler = Some(LossScaler::dynamic(gpu, rule).unwrap());
        }
        options
    }

    fn build(&self, gpu: &Gpu) -> Optimizer {
        let spec = |(index, shape): (usize, &&[usize])| {
            let spec = TensorSpec::new(format!("t{index}"), *shape).dtype(self.param);
            spec.grad_dtype(self.grad).precision(self.precision)
        };
        let specs: Vec<TensorSpec> = SHAPES.iter().enumerate().map(spec).collect();
        let (groups, options) = ([self.group()], self.options(gpu));
        let lend = |spec: &TensorSpec| {
            let len: usize = spec.shape.iter().product();
            let lent = || buffer(gpu, &vec![0.0; 2 * len + 64], BufferUsages::STORAGE);
            let (param, own) = (lent(), lent());
            let grad = if matches!(self.site, Site::Together) { &param } else { &own };
            let behind = (len as u64 * 4).next_multiple_of(16);
            BorrowedTensor {
                spec: spec.clone(),
                param: BufferRange::new(&param, 16, len as u64),
                grad: Some(BufferRange::new(grad, 16 + behind, len as u64)),
            }
        };
        match self.site {
            Site::Arena => Optimizer::arena_with(gpu, &groups, &specs, &options),
            Site::Apart | Site::Together => {
                let tensors: Vec<_> = specs.iter().map(lend).collect();
                Optimizer::borrowed_with(gpu, &groups, &tensors, &options)
            }
        }
        .unwrap()
    }

    /// Gradients of a step as the runtime writes them, and as the rule sees them.
    fn grads(&self, step: u64) -> [Vec<Vec<f32>>; 2] {
        let mut rng = Rng(100 + step);
        let mut values = |shape: &&[usize]| rng.values(shape.iter().product(), 0.2);
        let grads: Vec<Vec<f32>> = SHAPES.iter().map(&mut values).collect();
        let of_each = |grads: &[Vec<f32>], change: &dyn Fn(f32) -> f32| -> Vec<Vec<f32>> {
            grads.iter().map(|grad| grad.iter().map(|value| change(*value)).collect()).collect()
        };
        let grads = of_each(&grads, &|value| encode_decode(self.grad, value));
        let scaled = matches!(self.clip, Clip::Scaled | Clip::All);
        let written = of_each(&grads, &|value| if scaled { LOSS_SCALE * value } else { value });
        let mut seen = grads;
        if matches!(self.clip, Clip::Norm | Clip::All) {
            let squares = seen.iter().flatten().map(|value| f64::from(*value).powi(2));
            let factor = (MAX_NORM / (squares.sum::<f64>().sqrt() + 1e-6)).min(1.0);
            assert!(factor < 0.9, "it clips");
            #[allow(clippy::cast_possible_truncation, reason = "the factor is one of f32")]
            let factor = factor as f32;
            seen = of_each(&seen, &|value| factor * value);
        }
        if matches!(self.clip, Clip::Value | Clip::All) {
            seen = of_each(&seen, &|value| value.clamp(-CLIP_VALUE, CLIP_VALUE));
        }
        [written, seen]
    }

    fn check(&self, gpu: &Gpu) {
        let mut optimizer = self.build(gpu);
        let (rule, ids) = (&*self.case.twin, (0..SHAPES.len()).map(TensorId::new));
        let mut rng = Rng(1);
        let mut twins = Vec::new();
        for (id, shape) in ids.clone().zip(SHAPES) {
            let values = rng.values(shape.iter().product(), 1.0);
            let param: Vec<f32> =
                values.iter().map(|value| encode_decode(self.param, *value)).collect();
            optimizer.write_param(id, &param).unwrap();
            let twin = Tensor::<f32>::shaped(rule, shape, param);
            twins.push(self.option.map_or(twin.clone(), |option| option.of_twin(twin)));
        }
        for step in 0..STEPS {
            let [written, seen] = self.grads(step);
            write_grads(&optimizer, &written);
            optimizer.step(&Step::new()).unwrap();
            let seen: Vec<_> = seen.iter().map(|grad| Some(grad.as_slice())).collect();
            reference::step_all(rule, &mut twins, &[self.case.rule.lr(); SHAPES.len()], &seen);
            for (id, twin) in ids.clone().zip(&mut twins) {
                self.compare(&optimizer, id, twin, step);
            }
        }
    }

    /// Holds a tensor against its twin, which then takes what was found.
    fn compare(&self, optimizer: &Optimizer, id: TensorId, twin: &mut Tensor<f32>, step: u64) {
        let what = |name: &str| format!("{name} of {id:?} in step {step}: {self:?}");
        let master = optimizer.read_master(id).unwrap();
        within(&master, &twin.param, self.units_of_param(), &what("param"));
        if self.precision == Precision::Master {
            let param = optimizer.read_param(id).unwrap();
            let rounded = master.iter().map(|value| encode_decode(self.param, *value));
            assert!(param.iter().copied().eq(rounded), "{}", what("rounded master"));
        }
        twin.param = master;
        for slot in optimizer.slots(id).unwrap() {
            let found = optimizer.read_state(id, slot.name).unwrap();
            // (What the first part of a sum has not is its rounding.)
            if !slot.name.ends_with("_rest") {
                let expected = twin.get(&*self.case.twin, slot.name);
                self.compare_slot(*slot, &found, expected, &what(slot.name));
            }
            twin.set(&*self.case.twin, slot.name, &found);
        }
    }

    fn compare_slot(&self, slot: Slot, found: &[f32], expected: &[f32], what: &str) {
        let format = slot.format(self.state);
        let Some((_, block, rounded)) = FORMATS.into_iter().find(|(known, ..)| *known == format)
        else {
            // State in bf16 is rounded stochastically.
            let part = if format == StateFormat::Bf16 { 2f32.powi(-7) } else { 0.0 };
            return within(found, expected, part, what);
        };
        for (value, absmax, found) in in_blocks_of(block, expected, found) {
            // So near to a middle that an error of f32 decides, either code will do.
            let off = 1e-5 * absmax;
            let near = [value - off, value, value + off].into_iter();
            let near = near.filter(|value| slot.signed || *value >= 0.0);
            let codes = |value: f32| rounded(value, absmax.max(value.abs()), !slot.signed, 50.0);
            let is_code = |code: f64| (f64::from(found) - code).abs() <= 1e-4 * code.abs();
            let is_one =
                if absmax == 0.0 { found == 0.0 } else { near.flat_map(codes).any(is_code) };
            assert!(is_one, "{value:e} by {absmax:e} became {found:e}: {what}");
        }
    }

    /// By which part of itself a parameter may be rounded.
    fn units_of_param(&self) -> f32 {
        let half = match self.param {
            Dtype::F16 => 2f32.powi(-11),
            Dtype::Bf16 => 2f32.powi(-8),
            _ => 0.0,
        };
        match self.precision {
            Precision::Nearest => half,
            Precision::Stochastic => 2.0 * half,
            Precision::Remainder8 => 2f32.powi(-15),
            _ => 0.0,
        }
    }
}

/// Within torch's tolerance for f32, and a part of each value.
fn within(found: &[f32], expected: &[f32], part: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = 1e-5 + (1.3e-6 + part) * expected.abs();
        assert!((found - expected).abs() <= bound, "[{at}] {found:e} {expected:e} {what}");
    }
}

#[test]
fn the_design_has_every_pair() {
    let (sizes, rows) = (sizes(), design::all_pairs(&sizes(), may_be));
    assert!(design::covers(&sizes, &rows, may_be));
    // Every rule with every option takes this many.
    let least = RULE_NAMES.len() * OPTIONS.len();
    assert!(rows.len() <= least * 5 / 4, "{} rows for {least} pairs", rows.len());
    // And every case of every rule has its turn.
    let seen: Vec<String> =
        combinations(&rows).iter().map(|one| format!("{:?}", one.case.rule)).collect();
    let unseen: Vec<_> =
        cases().into_iter().filter(|case| !seen.contains(&format!("{:?}", case.rule))).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn every_pair_steps_as_the_twin() {
    let gpu = gpu();
    for combination in combinations(&design::all_pairs(&sizes(), may_be)) {
        combination.check(&gpu);
    }
}
