//! Tensors that come and go: the others go on as if nothing had been.

#![allow(clippy::cast_possible_truncation, reason = "lengths of test tensors are small")]

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, LossScaler, MicroGrad, Optimizer,
    Options, Places, Precision, Saved, Sgd, StateFormat, Step, TensorId, TensorSpec, wgpu,
};

use crate::common::{self, Rng, bits, buffer, gpu};

fn group() -> [Group; 1] {
    [Group::new("all", AdamW::new().lr(1e-2)).state(StateFormat::Int8)]
}

fn spec(name: &str, len: usize) -> TensorSpec {
    TensorSpec::new(name, [len]).dtype(Dtype::Bf16).precision(Precision::Remainder8)
}

fn options(gpu: &Gpu) -> Options {
    let loss_scaler = Some(LossScaler::fixed(gpu, 2.0).unwrap());
    Options { max_norm: Some(1e9), seed: 9, loss_scaler, ..Options::default() }
}

fn lent(gpu: &Gpu, name: &str, len: usize) -> BorrowedTensor {
    let lend = || {
        let zeros = vec![0.0; len.next_multiple_of(4)];
        BufferRange::new(&buffer(gpu, &zeros, wgpu::BufferUsages::STORAGE), 0, len as u64)
    };
    BorrowedTensor { spec: spec(name, len), param: lend(), grad: Some(lend()) }
}

/// A step with gradients by the tensors' names.
fn step(optimizer: &mut Optimizer, seed: u64) {
    let tensors: Vec<_> =
        optimizer.tensors().map(|(id, spec)| (id, spec.name.clone(), spec.shape[0])).collect();
    for (id, name, len) in tensors {
        let values = Rng(seed * 1000 + u64::from(name.as_bytes()[0])).values(len, 1.0);
        optimizer.write_grad(id, &values).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
}

/// Parameter and state of the tensor of this name, by their bits.
fn kept(optimizer: &Optimizer, name: &str) -> Vec<Vec<u32>> {
    let id = optimizer.id(name).unwrap();
    let mut all = vec![bits(&optimizer.read_master(id).unwrap())];
    for slot in ["exp_avg", "exp_avg_sq"] {
        all.push(bits(&optimizer.read_state(id, slot).unwrap()));
    }
    all.push(vec![optimizer.read_steps().unwrap()[id.index()]]);
    all
}

#[test]
fn tensors_that_stay_go_on_to_the_bit() {
    let gpu = gpu();
    for borrowed in [false, true] {
        let names = [("a", 5000), ("b", 4096), ("c", 30), ("d", 9001)];
        let build = || {
            let optimizer = if borrowed {
                let tensors = names.map(|(name, len)| lent(&gpu, name, len));
                Optimizer::borrowed_with(&gpu, &group(), &tensors, &options(&gpu))
            } else {
                let specs = names.map(|(name, len)| spec(name, len));
                Optimizer::arena_with(&gpu, &group(), &specs, &options(&gpu))
            };
            optimizer.unwrap()
        };
        let (mut straight, mut changed) = (build(), build());
        for seed in 0..3 {
            step(&mut straight, seed);
            step(&mut changed, seed);
        }
        let ids: Vec<TensorId> = changed.tensors().map(|(id, _)| id).collect();
        let before = changed.state_size_bytes();
        changed.remove_tensors(&[ids[1]]).unwrap();
        assert!(changed.state_size_bytes() < before);
        step(&mut straight, 3);
        step(&mut changed, 3);
        // A new one of the same name begins anew, with an id of its own.
        let added = if borrowed {
            changed.add_borrowed(&[lent(&gpu, "b", 700), lent(&gpu, "e", 5000)]).unwrap()
        } else {
            changed.add_tensors(&[spec("b", 700), spec("e", 5000)]).unwrap()
        };
        assert_eq!(added, [TensorId::new(4), TensorId::new(5)]);
        for seed in 4..7 {
            step(&mut straight, seed);
            step(&mut changed, seed);
        }
        for name in ["a", "c", "d"] {
            assert_eq!(kept(&straight, name), kept(&changed, name), "{name} {borrowed}");
            assert_eq!(straight.id(name), changed.id(name));
        }
        assert_eq!(changed.read_steps().unwrap()[4..], [3, 3]);
        let reports = changed.wait_reports().unwrap();
        assert_eq!(reports.last().unwrap().step, 7);
        let listed: Vec<&str> = changed.tensors().map(|(_, spec)| spec.name.as_str()).collect();
        assert_eq!(listed, ["a", "c", "d", "b", "e"]);
        let error = changed.read_param(ids[1]).unwrap_err();
        assert!(matches!(error, Error::UnknownTensor { index: 1, .. }), "{error}");
        assert!(matches!(changed.remove_tensors(&ids[1..2]), Err(Error::UnknownTensor { .. })));
    }
}

#[test]
fn a_changed_optimizer_saves_and_loads_what_it_has() {
    let gpu = gpu();
    let build = |names: &[(&str, usize)]| {
        let specs: Vec<_> = names.iter().map(|(name, len)| spec(name, *len)).collect();
        Optimizer::arena_with(&gpu, &group(), &specs, &options(&gpu)).unwrap()
    };
    let mut changed = build(&[("a", 5000), ("b", 4096)]);
    step(&mut changed, 0);
    changed.remove_tensors(&[TensorId::new(0)]).unwrap();
    changed.add_tensors(&[spec("c", 4500)]).unwrap();
    step(&mut changed, 1);
    let mut saved = Saved::default();
    changed.save(&mut saved).unwrap();
    let mut fresh = build(&[("c", 4500), ("b", 4096)]);
    fresh.load(&mut saved).unwrap();
    for seed in 2..4 {
        step(&mut changed, seed);
        step(&mut fresh, seed);
    }
    for name in ["b", "c"] {
        assert_eq!(kept(&changed, name), kept(&fresh, name), "{name}");
    }
    // And into one that has changed itself.
    let mut other = build(&[("x", 30), ("b", 4096)]);
    other.remove_tensors(&[TensorId::new(0)]).unwrap();
    other.add_tensors(&[spec("c", 4500)]).unwrap();
    other.load(&mut saved).unwrap();
}

#[test]
fn what_is_given_for_each_tensor_keeps_its_order() {
    let gpu = gpu();
    let sgd = [Group::new("all", Sgd::new().lr(1.0))];
    let plain =
        |name: &str| BorrowedTensor { spec: TensorSpec::new(name, [4]), ..lent(&gpu, name, 4) };
    let tensors = ["a", "b", "c"].map(plain);
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd, &tensors).unwrap();
    optimizer.remove_tensors(&[TensorId::new(1)]).unwrap();
    let grads = buffer(&gpu, &[1.0; 16], wgpu::BufferUsages::STORAGE);
    let at = |offset| Some(BufferRange::new(&grads, offset, 4));
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    let rates = Step::lr_per_tensor(&[1.0, 50.0, 3.0]);
    // Nonsense for the tensor that left, since it does not matter.
    let places = [at(0), at(7), at(16)];
    optimizer.encode_step_at(&mut encoder, &rates, &Places::of_grads(&places)).unwrap();
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(common::read(&gpu, &tensors[0].param.buffer), [-1.0; 4]);
    assert_eq!(common::read(&gpu, &tensors[1].param.buffer), [0.0; 4]);
    assert_eq!(common::read(&gpu, &tensors[2].param.buffer), [-3.0; 4]);
    let micro = buffer(&gpu, &[0.5; 16], wgpu::BufferUsages::STORAGE);
    let micro: Vec<MicroGrad> = (0..3)
        .map(|i| MicroGrad { dtype: Dtype::F32, range: BufferRange::new(&micro, i * 16, 4) })
        .collect();
    let accumulator = optimizer.accumulator(&micro).unwrap();
    common::submit(&gpu, |encoder| accumulator.encode(encoder, 1.0).unwrap());
    assert_eq!(optimizer.read_grad(TensorId::new(2)).unwrap(), [1.5; 4]);
}

#[test]
fn what_cannot_be_added_is_named_and_changes_nothing() {
    let gpu = gpu();
    let mut arena = Optimizer::arena(&gpu, &group(), &[spec("a", 4)]).unwrap();
    let says = |error: Error, expected: &str| assert_eq!(error.to_string(), expected);
    says(arena.add_tensors(&[spec("a", 4)]).unwrap_err(), "tensor 'a' is given twice");
    says(
        arena.add_borrowed(&[]).unwrap_err(),
        "the optimizer owns its parameters and gradients: there is nothing to rebind",
    );
    let mut borrowed = Optimizer::borrowed(&gpu, &group(), &[lent(&gpu, "a", 4)]).unwrap();
    says(
        borrowed.add_tensors(&[]).unwrap_err(),
        "the optimizer borrows parameters and gradients: say where those of new tensors lie \
         (add_borrowed)",
    );
    assert_eq!(arena.tensors().len(), 1);
}
