//! With one vec4 a lane a step has the bits that it has with two: pairs of whatever its kernels go by, around rules that
//! take turns.

use std::collections::VecDeque;

use fallline::{
    BorrowedTensor, BufferRange, Dtype, Error, Estimate, Gpu, Group, LaneVec4s, MicroGrad, Monitor,
    Optimizer, Options, Precision, Result, Saved, Sgd, StateFormat, Step, TensorId, TensorSpec,
    wgpu,
};
use fallline_reference::design::{self, Pair};

use crate::{
    common::{Case, Rng, bits, buffer, cases, gpu, tiny_gpu, write_grads},
    options::Choice,
};

/// Half of a tile and its end, an end in its second half, one behind the fourth tile of a workgroup.
const SHAPES: [&[usize]; 5] = [&[33, 24], &[101], &[250], &[1], &[1030]];
const STEPS: u64 = 2;

/// Where parameters and gradients lie: in the arena, in buffers of their own, in one buffer.
const SITES: usize = 3;
const AROUND: [Option<Choice>; 4] =
    [None, Some(Choice::Caution), Some(Choice::Ema), Some(Choice::Lookahead)];

const STATE: usize = 0;
const PARAM: usize = 1;
const PRECISION: usize = 2;
const AROUND_IT: usize = 5;
const MONITORED: usize = 6;
const DEVICE: usize = 7;

/// Values of each factor: formats of state and parameters, precisions, formats of gradients, places, what is around the
/// rule, whether steps are monitored and gradients zeroed, devices.
fn sizes() -> [usize; 8] {
    let [state, dtypes, precisions] =
        [StateFormat::ALL.len(), Dtype::ALL.len(), Precision::ALL.len()];
    [state, dtypes, precisions, dtypes, SITES, AROUND.len(), 2, 2]
}

/// Rules in turn: of those that may have this around them and fit the device, the one that had its turn longest ago.
struct Turns(VecDeque<Case>);

impl Turns {
    fn next(&mut self, gpu: &Gpu, row: &[usize]) -> Case {
        let moves_alone = matches!(AROUND[row[AROUND_IT]], None | Some(Choice::Ema));
        let may_be = |case: &Case| {
            // (Many slots and sums take more than a binding of the small device.)
            let is_too_large = || matches!(build(gpu, row, case), Err(Error::DeviceLimit { .. }));
            (moves_alone || !case.rule.moves_state()) && !is_too_large()
        };
        let at = self.0.iter().position(may_be).expect("most rules may");
        let case = self.0.remove(at).unwrap();
        self.0.push_back(case.clone());
        case
    }
}

fn may_be((a, b): Pair) -> bool {
    match (a, b) {
        ((PARAM, param), (PRECISION, precision)) => {
            Precision::ALL[precision].dtypes().contains(&Dtype::ALL[param])
        }
        // What monitored steps tell of each tensor is longer than a binding of the small device.
        ((MONITORED, 1), (DEVICE, 1)) => false,
        _ => true,
    }
}

fn build(gpu: &Gpu, row: &[usize], case: &Case) -> Result<Optimizer> {
    let [state, param, precision, grad, site, around, monitored, _] = row[..] else {
        panic!("a value of each factor: {row:?}");
    };
    let group =
        Group::new("all", case.rule.clone()).state(StateFormat::ALL[state]).min_state_elems(0);
    let groups = [AROUND[around].map_or(group.clone(), |around| around.of(group))];
    let monitor = (monitored == 1).then_some(Monitor { interval: 1, per_tensor: true });
    let options = Options { seed: 3, monitor, ..Options::default() };
    let spec = |(index, shape): (usize, &&[usize])| {
        let spec = TensorSpec::new(format!("t{index}"), *shape).dtype(Dtype::ALL[param]);
        spec.grad_dtype(Dtype::ALL[grad]).precision(Precision::ALL[precision])
    };
    let specs: Vec<TensorSpec> = SHAPES.iter().enumerate().map(spec).collect();
    if site == 0 {
        return Optimizer::arena_with(gpu, &groups, &specs, &options);
    }
    let lend = |spec: &TensorSpec| {
        let len = spec.shape.iter().product::<usize>() as u64;
        let lent = || buffer(gpu, &vec![0.0; 3000], wgpu::BufferUsages::STORAGE);
        let (param, own) = (lent(), lent());
        let grad = BufferRange::new(if site == 1 { &own } else { &param }, 4800, len);
        BorrowedTensor {
            spec: spec.clone(),
            param: BufferRange::new(&param, 16, len),
            grad: Some(grad),
        }
    };
    let tensors: Vec<_> = specs.iter().map(lend).collect();
    Optimizer::borrowed_with(gpu, &groups, &tensors, &options)
}

/// All that a run leaves: what it saves and reports, gradients, what parameters are evaluated at.
fn left(gpu: &Gpu, row: &[usize], case: &Case) -> String {
    let mut optimizer = build(gpu, row, case).unwrap();
    let ids: Vec<TensorId> = optimizer.tensors().map(|(id, _)| id).collect();
    let mut rng = Rng(7);
    for (id, shape) in ids.iter().zip(SHAPES) {
        optimizer.write_param(*id, &rng.values(shape.iter().product(), 1.0)).unwrap();
    }
    for step in 0..STEPS {
        let mut rng = Rng(20 + step);
        let grads: Vec<Vec<f32>> =
            SHAPES.iter().map(|shape| rng.values(shape.iter().product(), 0.2)).collect();
        write_grads(&optimizer, &grads);
        if optimizer.groups()[0].rule.takes_estimates() {
            optimizer.estimate(&Estimate::squared(8.0)).unwrap();
        }
        let zeroes = row[MONITORED] == 1 && step == 1;
        let step = if zeroes { Step::new().zero_grads() } else { Step::new() };
        optimizer.step(&step).unwrap();
    }
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    // (Where nothing is looked at, nothing is reported.)
    let reports = (row[MONITORED] == 1).then(|| optimizer.wait_reports().unwrap());
    optimizer.eval().unwrap();
    let read = |id: &TensorId| {
        let (param, grad) = (optimizer.read_param(*id).unwrap(), optimizer.read_grad(*id).unwrap());
        (bits(&param), bits(&grad))
    };
    let values: Vec<_> = ids.iter().map(read).collect();
    format!("{saved:?} {reports:?} {values:?}")
}

fn assert_equal(gpu: &Gpu, device: usize) {
    let rows = design::all_pairs(&sizes(), may_be);
    assert!(design::covers(&sizes(), &rows, may_be));
    let mut turns = Turns(cases().into());
    for row in rows.iter().filter(|row| row[DEVICE] == device) {
        let case = turns.next(gpu, row);
        let [one, two] = [LaneVec4s::One, LaneVec4s::Two]
            .map(|lane_vec4s| left(&gpu.with_lane_vec4s(lane_vec4s), row, &case));
        assert!(
            one == two,
            "{row:?}: {} with {:?}",
            case.rule.name(),
            StateFormat::ALL[row[STATE]]
        );
    }
}

#[test]
fn one_vec4_a_lane_gives_the_bits_of_two() {
    assert_equal(&gpu(), 0);
}

#[test]
fn one_vec4_a_lane_gives_the_bits_of_two_with_tiny_limits() {
    assert_equal(&tiny_gpu(), 1);
}

/// What is common to all rules is above: here each of their functions, in the formats that most lanes' work together takes.
#[test]
fn every_rule_gives_the_bits_of_two() {
    let int8 = StateFormat::ALL.iter().position(|format| *format == StateFormat::Int8).unwrap();
    let row = [int8, 0, 0, 0, 0, 0, 0, 0];
    for case in cases() {
        let [one, two] = [LaneVec4s::One, LaneVec4s::Two]
            .map(|lane_vec4s| left(&gpu().with_lane_vec4s(lane_vec4s), &row, &case));
        assert!(one == two, "{}", case.rule.name());
    }
}

#[test]
fn gradients_add_up_to_the_same() {
    let lens = [300, 101, 1];
    let accumulated = |lane_vec4s| {
        let gpu = gpu().with_lane_vec4s(lane_vec4s);
        let specs = lens.map(|len| TensorSpec::new(format!("{len}"), [len]));
        let optimizer = Optimizer::arena(&gpu, &[Group::new("all", Sgd::new())], &specs).unwrap();
        let grads = lens.map(|len| Rng(len as u64).values(len, 1.0));
        let micro = grads.each_ref().map(|grad| {
            let lent = buffer(&gpu, grad, wgpu::BufferUsages::STORAGE);
            MicroGrad { dtype: Dtype::F32, range: BufferRange::new(&lent, 0, grad.len() as u64) }
        });
        write_grads(&optimizer, &grads);
        let accumulator = optimizer.accumulator(&micro).unwrap();
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        accumulator.encode(&mut encoder, 0.3).unwrap();
        gpu.queue().submit([encoder.finish()]);
        optimizer
            .tensors()
            .map(|(id, _)| bits(&optimizer.read_grad(id).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(accumulated(LaneVec4s::One), accumulated(LaneVec4s::Two));
}
