//! Options that a group has around any rule, alone and in pairs: caution, cautious weight decay, a limit to directions,
//! Lookahead, averages.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, Lookahead, NAdam, Optimizer,
    Precision, Scope, Sgd, StateFormat, Step, Swa, TensorId, TensorSpec, wgpu::BufferUsages,
};
use fallline_reference::{self as reference, Averaging, Steering, Tensor};
use serde_json::json;

use crate::common::{Case, Rng, bits, buffer, cases, gpu, read, tiny_gpu};

const SHAPES: [&[usize]; 5] = [&[], &[257], &[40, 30], &[0], &[5001]];
const STEPS: usize = 6;

fn specs() -> Vec<TensorSpec> {
    let spec = |(index, shape): (usize, &&[usize])| TensorSpec::new(format!("t{index}"), *shape);
    SHAPES.iter().enumerate().map(spec).collect()
}

fn values(seed: usize, scale: f32) -> Vec<Vec<f32>> {
    let mut rng = Rng(seed as u64);
    SHAPES.iter().map(|shape| rng.values(shape.iter().product(), scale)).collect()
}

/// Gradients of a step; the second tensor has none in one of them.
fn grads(step: usize) -> Vec<Option<Vec<f32>>> {
    let grads = values(2 + step, 0.1).into_iter().enumerate();
    grads.map(|(index, grad)| (step != 2 || index != 1).then_some(grad)).collect()
}

fn train(optimizer: &mut Optimizer) {
    for (index, param) in values(1, 1.0).iter().enumerate() {
        optimizer.write_param(TensorId::new(index), param).unwrap();
    }
    for step in 0..STEPS {
        let mut absent = Vec::new();
        for (index, grad) in grads(step).iter().enumerate() {
            match grad {
                Some(grad) => optimizer.write_grad(TensorId::new(index), grad).unwrap(),
                None => absent.push(TensorId::new(index)),
            }
        }
        optimizer.step(&Step::new().without_grad(&absent)).unwrap();
    }
}

/// Holds a group with options against the twin with the same.
fn is_close_to_the_twin(
    gpu: &Gpu,
    case: &Case,
    group: Group,
    with: impl Fn(Tensor<f32>) -> Tensor<f32>,
    what: &str,
) {
    let mut optimizer = Optimizer::arena(gpu, &[group], &specs()).unwrap();
    train(&mut optimizer);
    let rule = &*case.twin;
    let params = values(1, 1.0).into_iter().zip(SHAPES);
    let mut twins: Vec<_> =
        params.map(|(param, shape)| with(Tensor::shaped(rule, shape, param))).collect();
    for step in 0..STEPS {
        let grads = grads(step);
        let grads: Vec<Option<&[f32]>> = grads.iter().map(Option::as_deref).collect();
        reference::step_all(rule, &mut twins, &[case.rule.lr(); SHAPES.len()], &grads);
    }
    for (index, twin) in twins.iter().enumerate() {
        let id = TensorId::new(index);
        let mut found = vec![("param", optimizer.read_param(id).unwrap(), &twin.param[..])];
        for slot in optimizer.slots(id).unwrap().iter().map(|slot| slot.name) {
            let state = optimizer.read_state(id, slot).unwrap();
            found.push((slot, state, twin.get(rule, slot)));
        }
        for (name, found, expected) in found {
            assert_eq!(found.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let is_close = (found - expected).abs() <= 1e-5 + 1.3e-6 * expected.abs();
                let place = || format!("{:?} {what}: {name} t{index}[{at}]", case.rule);
                assert!(is_close, "{}: {found:e} {expected:e}", place());
            }
        }
    }
}

fn steered(mut group: Group, steering: Steering) -> Group {
    let Steering { caution, cautious_decay, update_clipping } = steering;
    group = group.caution(caution).cautious_decay(cautious_decay);
    group.update_clipping = update_clipping;
    group
}

#[test]
fn every_rule_steered_is_close_to_the_twin() {
    let gpu = gpu();
    let caution = Steering { caution: true, ..Steering::default() };
    let clipped = Steering { update_clipping: Some(0.4), ..Steering::default() };
    let decay = Steering { cautious_decay: true, ..Steering::default() };
    let all = Steering { update_clipping: Some(0.8), cautious_decay: true, ..caution };
    for case in cases().into_iter().filter(|case| !case.rule.moves_state()) {
        let steerings = match case.rule.has_decoupled_decay() {
            true => vec![caution, clipped, decay, all],
            false => vec![caution, clipped, Steering { cautious_decay: false, ..all }],
        };
        for steering in steerings {
            let group = steered(Group::new("all", case.rule.clone()), steering);
            let with = |twin: Tensor<f32>| twin.steered(steering);
            is_close_to_the_twin(&gpu, &case, group, with, &format!("{steering:?}"));
        }
    }
}

/// A rule whose WGSL has the engine's decay says so, in one of its cases at least.
#[test]
fn rules_with_decoupled_decay_can_be_cautious() {
    for case in cases() {
        let text = case.rule.source().text;
        let is_decoupled = |other: &Case| {
            other.rule.source() == case.rule.source() && other.rule.has_decoupled_decay()
        };
        assert_eq!(
            text.contains(" decayed(param"),
            cases().iter().any(is_decoupled),
            "{:?}",
            case.rule
        );
    }
}

/// Whose average of where they were must stay one: those that have one beside the parameter, and no others.
#[test]
fn nothing_moves_the_parameter_alone_of_a_rule_whose_state_goes_along() {
    let gpu = gpu();
    let mut refused = Vec::new();
    for case in cases() {
        if !case.rule.moves_state() {
            continue;
        }
        refused.push(case.rule.name());
        let group = || Group::new("all", case.rule.clone());
        for (option, group) in [
            ("caution", group().caution(true)),
            ("update_clipping", group().update_clipping(1.0)),
            ("lookahead", group().lookahead(Lookahead::default())),
        ] {
            let error = Optimizer::arena(&gpu, &[group], &specs()).unwrap_err().to_string();
            let expected =
                "its rule's state goes along with the parameter, which this would move alone";
            assert_eq!(error, format!("group 'all' cannot have {option}: {expected}"));
        }
        // Averages move nothing.
        Optimizer::arena(&gpu, &[group().ema_decay(0.9)], &specs()).unwrap();
    }
    refused.dedup();
    assert_eq!(refused, ["asgd", "schedulefree_adamw", "schedulefree_sgd"]);
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice {
    Caution,
    CautiousDecay,
    UpdateClipping,
    Lookahead,
    Ema,
    EmaWarmup,
    Swa,
}

impl Choice {
    const ALL: [Self; 7] = [
        Self::Caution,
        Self::CautiousDecay,
        Self::UpdateClipping,
        Self::Lookahead,
        Self::Ema,
        Self::EmaWarmup,
        Self::Swa,
    ];

    pub(crate) fn of(self, group: Group) -> Group {
        match self {
            Self::Caution => group.caution(true),
            Self::CautiousDecay => group.cautious_decay(true),
            Self::UpdateClipping => group.update_clipping(0.7),
            Self::Lookahead => group.lookahead(Lookahead::new(2, 0.3)),
            Self::Ema => group.ema_decay(0.6),
            Self::EmaWarmup => group.ema_decay(0.6).ema_warmup(true),
            Self::Swa => group.swa(Swa::new(2, 2)),
        }
    }

    pub(crate) fn of_twin(self, twin: Tensor<f32>) -> Tensor<f32> {
        let steering = twin.steering;
        match self {
            Self::Caution => twin.steered(Steering { caution: true, ..steering }),
            Self::CautiousDecay => twin.steered(Steering { cautious_decay: true, ..steering }),
            Self::UpdateClipping => {
                twin.steered(Steering { update_clipping: Some(0.7), ..steering })
            }
            Self::Lookahead => twin.lookahead(2, 0.3),
            Self::Ema => twin.averaged(Averaging::Ema { decay: 0.6, warmup: false }),
            Self::EmaWarmup => twin.averaged(Averaging::Ema { decay: 0.6, warmup: true }),
            Self::Swa => twin.averaged(Averaging::Swa { start: 2, every: 2 }),
        }
    }
}

#[test]
fn all_pairs_of_options_are_close_to_the_twin_or_refused() {
    let gpu = gpu();
    let (mut held, mut refused) = (0, 0);
    for case in [
        Case::new("adamw", json!({ "lr": 1e-2, "weight_decay": 0.3 })),
        Case::new("lion", json!({ "lr": 1e-2, "weight_decay": 0.3 })),
        Case::new("lamb", json!({ "lr": 1e-2, "weight_decay": 0.1 })),
        Case::new("sgd", json!({ "lr": 0.1, "momentum": 0.9, "dampening": 0.5 })),
    ] {
        for (number, first) in Choice::ALL.into_iter().enumerate() {
            for second in Choice::ALL.into_iter().skip(number) {
                let group = second.of(first.of(Group::new("all", case.rule.clone())));
                let both = [first, second];
                let no_decay =
                    both.contains(&Choice::CautiousDecay) && !case.rule.has_decoupled_decay();
                let two_averages = group.swa.is_some() && group.ema_decay.is_some();
                if no_decay || two_averages {
                    let error = Optimizer::arena(&gpu, &[group], &specs()).unwrap_err();
                    assert!(matches!(error, Error::GroupOption { .. }), "{error}");
                    refused += 1;
                    continue;
                }
                let with = |twin: Tensor<f32>| second.of_twin(first.of_twin(twin));
                is_close_to_the_twin(&gpu, &case, group, with, &format!("{both:?}"));
                held += 1;
            }
        }
    }
    assert_eq!((held, refused), (2 * 26 + 2 * 19, 2 * 2 + 2 * 9));
}

/// Whatever a rule's direction is multiplied by, what is limited is the move for each unit of learning rate.
#[test]
fn a_limit_is_that_of_the_move_over_the_learning_rate() {
    let gpu = gpu();
    let (limit, lr) = (1e-3, 0.25);
    let spec = TensorSpec::new("t", [3000]);
    for name in fallline::RULE_NAMES {
        let plain = json!({ "lr": lr, "weight_decay": 0.0 });
        let rule = fallline::deserialize_rule(name, &plain)
            .or_else(|_| fallline::deserialize_rule(name, &json!({ "lr": lr })))
            .unwrap();
        if rule.scope() != Scope::Element || rule.moves_state() {
            continue;
        }
        let group = Group::new("all", rule).update_clipping(limit);
        let mut optimizer = Optimizer::arena(&gpu, &[group], std::slice::from_ref(&spec)).unwrap();
        let id = TensorId::new(0);
        optimizer.write_param(id, &[0.0; 3000]).unwrap();
        optimizer.write_grad(id, &Rng(3).values(3000, 2.0)).unwrap();
        optimizer.step(&Step::new()).unwrap();
        let moved = optimizer.read_param(id).unwrap();
        let squares: f64 = moved.iter().map(|value| f64::from(*value).powi(2)).sum();
        let rms = (squares / 3000.0).sqrt() / lr;
        assert!((rms / limit - 1.0).abs() < 1e-5, "{name}: {rms}");
    }
}

#[test]
fn frames_windows_and_formats_change_no_bit() {
    let spec = |param, precision| {
        TensorSpec::new("t", [5003]).dtype(param).grad_dtype(Dtype::F32).precision(precision)
    };
    let group = |state| {
        let group = Group::new("all", AdamW::new().weight_decay(0.5)).state(state);
        group.min_state_elems(0).caution(true).cautious_decay(true).update_clipping(0.5)
    };
    let mut rng = Rng(11);
    let (param, grads) = (rng.values(5003, 1.0), [rng.values(5003, 0.1), rng.values(5003, 0.1)]);
    for state in [StateFormat::F32, StateFormat::Int8, StateFormat::Int4] {
        for (dtype, precision) in [
            (Dtype::F32, Precision::Nearest),
            (Dtype::F16, Precision::Stochastic),
            (Dtype::Bf16, Precision::Master),
            (Dtype::Bf16, Precision::Remainder),
            (Dtype::Bf16, Precision::Remainder8),
        ] {
            let (id, spec) = (TensorId::new(0), spec(dtype, precision));
            let arena = |gpu: &Gpu| {
                let groups = [group(state)];
                let mut optimizer =
                    Optimizer::arena(gpu, &groups, std::slice::from_ref(&spec)).unwrap();
                optimizer.write_param(id, &param).unwrap();
                for grad in &grads {
                    optimizer.write_grad(id, grad).unwrap();
                    optimizer.step(&Step::new()).unwrap();
                }
                let state = optimizer.read_state(id, "exp_avg").unwrap();
                [bits(&optimizer.read_param(id).unwrap()), bits(&state)]
            };
            let expected = arena(&gpu());
            assert_eq!(arena(&tiny_gpu()), expected, "{state} {dtype} {precision}");

            let gpu = gpu();
            // Room for either format.
            let lent = buffer(&gpu, &[0.0; 5004], BufferUsages::STORAGE);
            let grad = buffer(&gpu, &[0.0; 5004], BufferUsages::STORAGE);
            let tensor = BorrowedTensor {
                spec: spec.clone(),
                param: BufferRange::new(&lent, 0, 5003),
                grad: Some(BufferRange::new(&grad, 0, 5003)),
            };
            let mut optimizer = Optimizer::borrowed(&gpu, &[group(state)], &[tensor]).unwrap();
            optimizer.write_param(id, &param).unwrap();
            for grad in &grads {
                optimizer.write_grad(id, grad).unwrap();
                optimizer.step(&Step::new()).unwrap();
            }
            let state_found = optimizer.read_state(id, "exp_avg").unwrap();
            let found = [bits(&optimizer.read_param(id).unwrap()), bits(&state_found)];
            assert_eq!(found, expected, "borrowed {state} {dtype} {precision}");
            assert_eq!(read(&gpu, &grad)[5003].to_bits(), 0);
        }
    }
}

#[test]
fn one_element_that_is_not_finite_stays_alone() {
    let step = |group: Group, bad: f32| {
        let gpu = gpu();
        let spec = TensorSpec::new("t", [600]);
        let mut optimizer = Optimizer::arena(&gpu, &[group], &[spec]).unwrap();
        let id = TensorId::new(0);
        optimizer.write_param(id, &[1.0; 600]).unwrap();
        let mut grad = vec![1.0; 600];
        grad[77] = bad;
        optimizer.write_grad(id, &grad).unwrap();
        optimizer.step(&Step::new()).unwrap();
        optimizer.read_param(id).unwrap()
    };
    let sgd = || Group::new("all", Sgd::new().lr(0.5));
    let alone = |params: &[f32], other: f32| {
        for (index, param) in params.iter().enumerate() {
            let is_right = if index == 77 { !param.is_finite() } else { *param == other };
            assert!(is_right, "[{index}] {param}");
        }
    };
    // 599 of 600 agree.
    let careful = step(sgd().caution(true), f32::NAN);
    assert!(careful[77].is_nan());
    let far = 0.5 * 600.0 / 599.0;
    assert!(careful.iter().enumerate().all(|(i, p)| i == 77 || (1.0 - p - far).abs() < 1e-6));
    alone(&step(sgd().update_clipping(0.25), f32::NAN), 0.5);
    alone(&step(sgd().update_clipping(0.25), f32::INFINITY), 1.0);
    // Its square is infinite, and the others' are none beside it.
    let large = step(sgd().update_clipping(0.25), 1e30);
    assert!(large.iter().all(|param| *param == 1.0), "{large:?}");
}

#[test]
fn signs_agree_where_their_product_would_vanish() {
    let gpu = gpu();
    let group = Group::new("all", Sgd::new().lr(1e20)).caution(true);
    let mut optimizer = Optimizer::arena(&gpu, &[group], &[TensorSpec::new("t", [4])]).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &[1e-25, -1e-25, 0.0, 1e-30]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let found = optimizer.read_param(id).unwrap();
    // Three of four agree.
    for (found, grad) in found.iter().zip([1e-25f64, -1e-25, 0.0, 1e-30]) {
        let expected = -grad * 1e20 * 4.0 / 3.0;
        assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs(), "{found:e}");
    }
}

#[test]
fn averages_go_by_whole_numbers_of_steps_beyond_those_of_f32() {
    let gpu = gpu();
    let start = (1 << 24) + 3;
    let group = Group::new("all", Sgd::new().lr(1.0)).swa(Swa::new(start, 2));
    let mut optimizer = Optimizer::arena(&gpu, &[group], &[TensorSpec::new("t", [1])]).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &[1.0]).unwrap();
    optimizer.write_step(id, start - 2).unwrap();
    let mut averages = Vec::new();
    for _ in 0..6 {
        optimizer.step(&Step::new()).unwrap();
        averages.push(optimizer.read_state(id, "average").unwrap()[0]);
    }
    // Of -2; of -2 and -4; of these and -6.
    assert_eq!(averages, [0.0, -2.0, -2.0, -3.0, -3.0, -4.0]);
    // Many averages later, one more counts as one of these.
    optimizer.write_step(id, start + 2 * 999_999 - 1).unwrap();
    optimizer.write_state(id, "average", &[0.0]).unwrap();
    optimizer.write_param(id, &[1e6 + 1.0]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let average = optimizer.read_state(id, "average").unwrap()[0];
    assert!((average - 1.0).abs() < 1e-6, "{average}");
}

#[test]
fn a_copy_of_what_is_infinite_is_infinite() {
    let gpu = gpu();
    for group in [
        Group::new("all", Sgd::new()).swa(Swa::default()),
        Group::new("all", Sgd::new()).ema_decay(0.5),
    ] {
        let mut optimizer = Optimizer::arena(&gpu, &[group], &[TensorSpec::new("t", [1])]).unwrap();
        let id = TensorId::new(0);
        optimizer.write_param(id, &[f32::INFINITY]).unwrap();
        optimizer.step(&Step::new()).unwrap();
        assert_eq!(optimizer.read_state(id, "average").unwrap(), [f32::INFINITY]);
    }
}

#[test]
fn what_a_group_cannot_have_is_told() {
    let refused =
        |group: Group| Optimizer::arena(&gpu(), &[group], &specs()).unwrap_err().to_string();
    let sgd = || Group::new("all", Sgd::new());
    for (group, expected) in [
        (
            sgd().ema_decay(0.9).swa(Swa::default()),
            "group 'all' cannot have swa: the group has one average, which is that of ema_decay",
        ),
        (
            sgd().ema_warmup(true),
            "group 'all' cannot have ema_warmup: there is no ema_decay to begin with",
        ),
        (
            sgd().cautious_decay(true),
            "group 'all' cannot have cautious_decay: its rule has no decoupled weight decay",
        ),
        (
            Group::new("all", NAdam::new()).cautious_decay(true),
            "group 'all' cannot have cautious_decay: its rule has no decoupled weight decay",
        ),
        (sgd().swa(Swa::new(0, 1)), "group 'all': swa start must be finite and > 0, found 0"),
        (sgd().swa(Swa::new(1, 0)), "group 'all': swa every must be finite and > 0, found 0"),
        (
            sgd().update_clipping(0.0),
            "group 'all': update_clipping must be finite and > 0, found 0",
        ),
    ] {
        assert_eq!(refused(group), expected);
    }
    // Nor come to have by another rule.
    let group = Group::new("all", NAdam::new().decoupled_weight_decay(true)).cautious_decay(true);
    let mut optimizer = Optimizer::arena(&gpu(), &[group], &specs()).unwrap();
    let error = optimizer.set_rule("all", NAdam::new()).unwrap_err();
    assert!(matches!(error, Error::GroupOption { option: "cautious_decay", .. }), "{error}");
}
