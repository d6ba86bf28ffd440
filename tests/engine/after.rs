//! What comes after the updates of any rule: Lookahead and averages.

use fallline::{
    Dtype, Group, Lookahead, Optimizer, Precision, Saved, StateFormat, Step, TensorId, TensorSpec,
};
use fallline_reference as reference;

use crate::common::{Case, Rng, bits, cases, gpu, tiny_gpu};

const LENS: [usize; 4] = [1, 257, 1021, 5000];

fn specs() -> Vec<TensorSpec> {
    LENS.iter().map(|len| TensorSpec::new(format!("t{len}"), [*len])).collect()
}

fn group(case: &Case, k: Option<u32>, decay: Option<f64>) -> Group {
    let mut group = Group::new("all", case.rule.clone());
    group.lookahead = k.map(|k| Lookahead::new(k, 0.3));
    group.ema_decay = decay;
    group
}

fn values(seed: usize, scale: f32) -> Vec<Vec<f32>> {
    let mut rng = Rng(seed as u64);
    LENS.iter().map(|len| rng.values(*len, scale)).collect()
}

const STEPS: usize = 7;

fn train(optimizer: &mut Optimizer) {
    for (index, param) in values(1, 1.0).iter().enumerate() {
        optimizer.write_param(TensorId::new(index), param).unwrap();
    }
    for step in 0..STEPS {
        for (index, grad) in values(2 + step, 0.1).iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad).unwrap();
        }
        // The second tensor has no gradient in one of the steps.
        let absent = [TensorId::new(1)];
        let step = if step == 2 { Step::new().without_grad(&absent) } else { Step::new() };
        optimizer.step(&step).unwrap();
    }
}

#[test]
fn every_rule_with_either_and_both_is_close_to_the_twin() {
    let gpu = gpu();
    for case in cases() {
        for (k, decay) in
            [(Some(3), None), (None, Some(0.9)), (Some(2), Some(0.6)), (Some(1), None)]
        {
            if k.is_some() && case.rule.moves_state() {
                continue;
            }
            let mut optimizer =
                Optimizer::arena(&gpu, &[group(&case, k, decay)], &specs()).unwrap();
            train(&mut optimizer);
            let rule = &*case.twin;
            let mut twins = Vec::new();
            for param in values(1, 1.0) {
                let mut twin = reference::Tensor::<f32>::new(rule, param);
                twin = k.map_or(twin.clone(), |k| twin.clone().lookahead(k, 0.3));
                twins.push(decay.map_or(twin.clone(), |decay| twin.ema(decay)));
            }
            for step in 0..STEPS {
                let grads = values(2 + step, 0.1);
                let has =
                    |(index, grad): (usize, &Vec<f32>)| step != 2 || index != 1 || grad.is_empty();
                let grads: Vec<Option<&[f32]>> = grads
                    .iter()
                    .enumerate()
                    .map(|(index, grad)| has((index, grad)).then_some(grad.as_slice()))
                    .collect();
                reference::step_all(rule, &mut twins, &[case.rule.lr(); LENS.len()], &grads);
            }
            for (index, twin) in twins.iter().enumerate() {
                let id = TensorId::new(index);
                let mut found = vec![("param", optimizer.read_param(id).unwrap(), &twin.param[..])];
                for slot in optimizer.slots(id).unwrap().iter().map(|slot| slot.name) {
                    let state = optimizer.read_state(id, slot).unwrap();
                    found.push((slot, state, twin.get(rule, slot)));
                }
                for (name, found, expected) in found {
                    for (found, expected) in found.iter().zip(expected) {
                        let is_close = (found - expected).abs() <= 1e-5 + 1.3e-6 * expected.abs();
                        let what = || format!("{:?} {k:?} {decay:?} {name}", case.rule);
                        assert!(is_close, "{} t{index}: {found:e} {expected:e}", what());
                    }
                }
            }
        }
    }
}

#[test]
fn formats_of_state_and_cuts_touch_no_bit_of_slow_weights() {
    let case = Case::new("sgd", serde_json::json!({ "lr": 0.1 }));
    let trained = |gpu: &fallline::Gpu, state: StateFormat| {
        let group = group(&case, Some(2), Some(0.9)).state(state).min_state_elems(0);
        let mut optimizer = Optimizer::arena(gpu, &[group], &specs()).unwrap();
        train(&mut optimizer);
        let read = |slot: &str| {
            let ids = (0..LENS.len()).map(TensorId::new);
            ids.map(|id| bits(&optimizer.read_state(id, slot).unwrap())).collect::<Vec<_>>()
        };
        [read("slow"), read("average")]
    };
    let expected = trained(&gpu(), StateFormat::F32);
    for state in [StateFormat::Bf16, StateFormat::Int8, StateFormat::Int4, StateFormat::Companded] {
        assert_eq!(trained(&gpu(), state), expected, "{state}");
    }
    assert_eq!(trained(&tiny_gpu(), StateFormat::F32), expected, "small windows");
}

#[test]
fn a_parameter_of_16_bits_has_an_average_of_f32() {
    let case = Case::new("sgd", serde_json::json!({ "lr": 1e-3 }));
    let spec = TensorSpec::new("t", [1000]).dtype(Dtype::Bf16).precision(Precision::Master);
    let group = group(&case, None, Some(0.5));
    let mut optimizer = Optimizer::arena(&gpu(), &[group], &[spec]).unwrap();
    let id = TensorId::new(0);
    optimizer.write_param(id, &[1.0; 1000]).unwrap();
    optimizer.write_grad(id, &[1.0; 1000]).unwrap();
    for _ in 0..3 {
        optimizer.step(&Step::new()).unwrap();
    }
    // 0.999, 0.9985, 0.99775: half-way to 0.999, 0.998, 0.997 each.
    let average = optimizer.read_state(id, "average").unwrap();
    assert!(average.iter().all(|value| (value - 0.997_75).abs() < 1e-6), "{}", average[0]);
}

#[test]
fn saved_and_resumed_it_goes_on_to_the_bit() {
    let case = Case::new("prodigy", serde_json::json!({ "d0": 1e-3 }));
    let group = [group(&case, Some(3), Some(0.9)).state(StateFormat::Int8).min_state_elems(0)];
    let mut whole = Optimizer::arena(&gpu(), &group, &specs()).unwrap();
    train(&mut whole);
    let mut saved = Saved::default();
    whole.save(&mut saved).unwrap();
    let mut resumed = Optimizer::arena(&gpu(), &group, &specs()).unwrap();
    resumed.load(&mut saved).unwrap();
    for optimizer in [&mut whole, &mut resumed] {
        for (index, grad) in values(50, 0.1).iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    for id in (0..LENS.len()).map(TensorId::new) {
        for slot in whole.slots(id).unwrap().iter().map(|slot| slot.name) {
            let [a, b] = [&whole, &resumed].map(|o| bits(&o.read_state(id, slot).unwrap()));
            assert_eq!(a, b, "{slot}");
        }
        let [a, b] = [&whole, &resumed].map(|o| bits(&o.read_param(id).unwrap()));
        assert_eq!(a, b);
    }
}

#[test]
fn what_is_out_of_range_is_named() {
    let refused =
        |group: Group| Optimizer::arena(&gpu(), &[group], &specs()).unwrap_err().to_string();
    let case = Case::new("sgd", serde_json::json!({}));
    let none = refused(group(&case, Some(0), None));
    assert!(none.contains("lookahead k") && none.contains("> 0"), "{none}");
    let far = refused(group(&case, None, Some(1.5)));
    assert!(far.contains("ema_decay") && far.contains("[0, 1]"), "{far}");
}
