//! Tensors that stand still for a while, and then go on.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Error, Estimate, Group, Optimizer, Options, Places, Saved,
    Select, Sgd, Sophia, Step, TensorId, TensorSpec, wgpu,
};

use crate::common::{Rng, bits, buffer, cases, gpu, specs, step, submit, write_grads};

const FROZEN: TensorId = TensorId::new(1);

/// Parameter, tiled state and step counter of a tensor, by their bits.
fn kept(optimizer: &Optimizer, id: TensorId) -> Vec<Vec<u32>> {
    let mut all = vec![bits(&optimizer.read_param(id).unwrap())];
    let own = |slot: &&fallline::Slot| slot.shape == fallline::SlotShape::Param;
    for slot in optimizer.slots(id).unwrap().iter().filter(own) {
        all.push(bits(&optimizer.read_state(id, slot.name).unwrap()));
    }
    all.push(vec![optimizer.read_steps().unwrap()[id.index()]]);
    all
}

fn arena(group: Group, options: &Options) -> Optimizer {
    let specs = specs(&[301, 5000, 7]);
    let optimizer = Optimizer::arena_with(&gpu(), &[group], &specs, options).unwrap();
    for (id, len) in [(0, 301), (1, 5000), (2, 7)] {
        optimizer.write_param(TensorId::new(id), &Rng(id as u64).values(len, 1.0)).unwrap();
    }
    optimizer
}

fn grads(seed: u64) -> Vec<Vec<f32>> {
    [301, 5000, 7].map(|len| Rng(100 + seed).values(len, 0.1)).to_vec()
}

/// Frozen for steps 3 and 4: what a tensor without gradient in these has, for every rule.
#[test]
fn a_frozen_tensor_is_one_without_gradient() {
    for case in cases() {
        let group = || Group::new("all", case.rule.clone()).min_state_elems(0);
        let (mut frozen, mut without) =
            (arena(group(), &Options::default()), arena(group(), &Options::default()));
        for t in 1..=6 {
            match t {
                3 => frozen.freeze("t1").unwrap(),
                5 => frozen.unfreeze(Select::names(["t0", "t1"])).unwrap(),
                _ => {}
            }
            let stands = t == 3 || t == 4;
            assert_eq!(frozen.is_frozen(FROZEN).unwrap(), stands);
            let before = kept(&frozen, FROZEN);
            for optimizer in [&frozen, &without] {
                write_grads(optimizer, &grads(t));
            }
            frozen.step(&Step::new()).unwrap();
            let absent = if stands { &[FROZEN][..] } else { &[] };
            without.step(&Step::new().without_grad(absent)).unwrap();
            for id in [0, 1, 2].map(TensorId::new) {
                assert_eq!(kept(&frozen, id), kept(&without, id), "step {t}: {:?}", case.rule);
            }
            let after = kept(&frozen, FROZEN);
            assert_eq!(after == before, stands, "step {t}: {:?}", case.rule);
        }
        assert_eq!(frozen.read_steps().unwrap(), [6, 4, 6]);
    }
}

/// Its gradient may be anything, infinite too.
#[test]
fn a_frozen_tensor_counts_in_no_norm_and_overflows_nothing() {
    let options = Options { max_norm: Some(1.0), skip_non_finite: true, ..Options::default() };
    let mut optimizer = arena(Group::new("all", Sgd::new().lr(0.1)), &options);
    let mut grads = grads(0);
    grads[1][17] = f32::INFINITY;
    write_grads(&optimizer, &grads);
    assert!(step(&mut optimizer, &Step::new()).skipped);
    optimizer.freeze("t1").unwrap();
    let report = step(&mut optimizer, &Step::new().zero_grads());
    let square = |grad: &Vec<f32>| grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    let norm = (square(&grads[0]) + square(&grads[2])).sqrt();
    assert!(!report.skipped && (f64::from(report.norm) / norm - 1.0).abs() < 1e-6, "{report:?}");
    // And it stays, for whoever unfreezes the tensor to write anew.
    assert_eq!(bits(&optimizer.read_grad(FROZEN).unwrap()), bits(&grads[1]));
    assert_eq!(optimizer.read_grad(TensorId::new(2)).unwrap(), [0.0; 7]);
}

#[test]
fn recorded_steps_are_as_they_were_recorded() {
    let rule = || Group::new("all", AdamW::new().weight_decay(0.1));
    let mut optimizer = arena(rule(), &Options::default());
    write_grads(&optimizer, &grads(0));
    let dispatches = optimizer.dispatches();
    let gpu = optimizer.gpu().clone();
    submit(&gpu, |encoder| {
        optimizer.encode_step(encoder, &Step::new()).unwrap();
        optimizer.freeze("t1").unwrap();
        optimizer.encode_step(encoder, &Step::new()).unwrap();
        optimizer.encode_step(encoder, &Step::new()).unwrap();
        optimizer.unfreeze("t1").unwrap();
        optimizer.encode_step(encoder, &Step::new()).unwrap();
        optimizer.freeze("*").unwrap();
    });
    assert_eq!(optimizer.read_steps().unwrap(), [4, 2, 4]);
    assert_eq!(optimizer.dispatches(), dispatches);
}

/// Its state is saved, and that it is frozen is not.
#[test]
fn a_frozen_tensor_is_saved_as_it_is_and_loaded_as_it_was() {
    let rule = || Group::new("all", AdamW::new());
    let mut optimizer = arena(rule(), &Options::default());
    write_grads(&optimizer, &grads(0));
    optimizer.step(&Step::new()).unwrap();
    optimizer.freeze("t1").unwrap();
    optimizer.step(&Step::new()).unwrap();
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();

    let mut loaded = arena(rule(), &Options::default());
    loaded.freeze("t0").unwrap();
    loaded.load(&mut saved).unwrap();
    assert_eq!(
        [0, 1, 2].map(|id| loaded.is_frozen(TensorId::new(id)).unwrap()),
        [true, false, false]
    );
    assert_eq!(kept(&loaded, FROZEN), kept(&optimizer, FROZEN));
    loaded.unfreeze("t0").unwrap();
    loaded.freeze("t1").unwrap();
    for t in 1..4 {
        for optimizer in [&mut loaded, &mut optimizer] {
            write_grads(optimizer, &grads(t));
            optimizer.step(&Step::new()).unwrap();
            optimizer.unfreeze("t1").unwrap();
        }
        for id in [0, 1, 2].map(TensorId::new) {
            assert_eq!(kept(&loaded, id), kept(&optimizer, id));
        }
    }
}

#[test]
fn it_stays_frozen_where_others_come_and_go() {
    let mut optimizer = arena(Group::new("all", Sgd::new().lr(0.1)), &Options::default());
    optimizer.freeze("t1").unwrap();
    optimizer.remove_tensors(&[TensorId::new(0)]).unwrap();
    optimizer.add_tensors(&[TensorSpec::new("t3", [4])]).unwrap();
    optimizer.write_grad(FROZEN, &[1.0; 5000]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_steps().unwrap()[1..], [0, 1, 1]);
    // One that is gone is not selected.
    assert!(matches!(optimizer.freeze("t0").unwrap_err(), Error::NoMatch { .. }));
    assert_eq!(optimizer.select("t[13]").unwrap(), [FROZEN, TensorId::new(3)]);
}

#[test]
fn a_selection_of_nothing_freezes_nothing() {
    let mut optimizer = arena(Group::new("all", Sgd::new()), &Options::default());
    let mut says = |select: Select| optimizer.freeze(select).unwrap_err().to_string();
    assert_eq!(says(Select::globs(["t0", "x*"])), "no tensor matches the glob 'x*'");
    assert_eq!(says(Select::names(["t*", "t1"])), "no tensor matches the name 't*'");
    assert_eq!(says(Select::filter(|_| false)), "no tensor matches the selection");
    assert_eq!(says(Select::glob("t[")), "the glob 't[': invalid range pattern (at 1)");
    assert!([0, 1, 2].map(TensorId::new).iter().all(|id| !optimizer.is_frozen(*id).unwrap()));
    let error = optimizer.is_frozen(TensorId::new(3)).unwrap_err();
    assert!(matches!(error, Error::UnknownTensor { index: 3, len: 3 }));
}

/// Borrowed tensors, also where a step says where gradients lie.
#[test]
fn borrowed_tensors_freeze_too() {
    let gpu = gpu();
    let lent = buffer(&gpu, &[1.0; 4096], wgpu::BufferUsages::STORAGE);
    let range = |at: u64| BufferRange::new(&lent, at * 4, 300);
    let tensor = |name: &str, at| BorrowedTensor {
        spec: TensorSpec::new(name, [300]),
        param: range(at),
        grad: Some(range(2048 + at)),
    };
    let groups = [Group::new("all", AdamW::new().lr(0.1).weight_decay(0.1))];
    let tensors = [tensor("a", 0), tensor("b", 512)];
    let mut optimizer = Optimizer::borrowed(&gpu, &groups, &tensors).unwrap();
    optimizer.freeze("b").unwrap();
    optimizer.step(&Step::new()).unwrap();
    let elsewhere = [Some(range(2048)), Some(range(3072))];
    let (step, places) = (Step::new(), Places::of_grads(&elsewhere));
    submit(&gpu, |encoder| optimizer.encode_step_at(encoder, &step, &places).unwrap());
    assert_eq!(optimizer.read_steps().unwrap(), [2, 0]);
    assert_eq!(optimizer.read_param(FROZEN).unwrap(), [1.0; 300]);
    optimizer.unfreeze("b").unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_steps().unwrap(), [3, 1]);
}

#[test]
fn an_estimate_passes_it_by() {
    let mut optimizer = arena(Group::new("all", Sophia::new()), &Options::default());
    write_grads(&optimizer, &grads(0));
    optimizer.step(&Step::new()).unwrap();
    optimizer.freeze("t1").unwrap();
    let before = [0, 1].map(|id| kept(&optimizer, TensorId::new(id)));
    optimizer.estimate(&Estimate::diagonal()).unwrap();
    assert_ne!(kept(&optimizer, TensorId::new(0)), before[0]);
    assert_eq!(kept(&optimizer, FROZEN), before[1]);
}
