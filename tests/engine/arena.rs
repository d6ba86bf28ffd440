//! What the arena promises: one pass, dispatches that do not depend on the number of tensors, own
//! step counters, the same bits whatever the limits.

use fallline::{AdamW, Gpu, Group, Lion, Optimizer, Scope, Sgd, Step, TensorId, TensorSpec, wgpu};

use crate::common::{
    self, AWKWARD, Case, Rng, bits, cases, gpu, specs, tiny_gpu, webgpu_default_gpu,
};

fn ids(optimizer: &Optimizer) -> Vec<TensorId> {
    optimizer.tensors().map(|(id, _)| id).collect()
}

/// Parameters and state after some steps, as bits.
fn trained(gpu: &Gpu, group: &Group, sizes: &[usize], steps: u32) -> Vec<Vec<u32>> {
    let mut optimizer = Optimizer::arena(gpu, std::slice::from_ref(group), &specs(sizes)).unwrap();
    let mut rng = Rng(3);
    let ids = ids(&optimizer);
    for id in &ids {
        optimizer.write_param(*id, &rng.values(sizes[id.index()], 1.0)).unwrap();
    }
    for _ in 0..steps {
        for id in &ids {
            optimizer.write_grad(*id, &rng.values(sizes[id.index()], 0.1)).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    let mut all = Vec::new();
    for id in ids {
        all.push(bits(&optimizer.read_param(id).unwrap()));
        for slot in optimizer.slots(id).unwrap().iter().map(|slot| slot.name) {
            all.push(bits(&optimizer.read_state(id, slot).unwrap()));
        }
    }
    all
}

#[test]
fn neither_a_second_run_nor_tiny_limits_change_a_bit() {
    // With bindings of 128 KiB a window holds 10,752 to 32,768 elements, and a buffer 87,296 to 262,144:
    // windows, folded dispatches and several segments all occur.
    let large = [50_001, 61_440, 16_384, 65_536, 60_000, 40_000];
    let sizes: Vec<usize> = AWKWARD.into_iter().chain(large).collect();
    for case in cases() {
        let group = Group::new("all", case.rule.clone());
        let first = trained(&gpu(), &group, &sizes, 2);
        assert!(first == trained(&gpu(), &group, &sizes, 2), "run again: {:?}", case.rule);
        assert!(first == trained(&tiny_gpu(), &group, &sizes, 2), "cut small: {:?}", case.rule);
        let cut = Optimizer::arena(&tiny_gpu(), &[group], &specs(&sizes)).unwrap();
        assert!(cut.dispatches() > 10, "{} dispatches are not many pieces", cut.dispatches());
    }
}

#[test]
fn webgpus_default_limits_suffice() {
    let group = Group::new("all", AdamW::new().amsgrad(true));
    let gpu = webgpu_default_gpu();
    assert_eq!(gpu.device().limits().max_storage_buffers_per_shader_stage, 8);
    assert!(trained(&gpu, &group, &AWKWARD, 2) == trained(&common::gpu(), &group, &AWKWARD, 2));
}

#[test]
fn a_tensor_beyond_a_binding_takes_two_dispatches() {
    // 129 MiB of f32 against bindings of 128 MiB.
    let len = 129 << 18;
    let group = [Group::new("all", Sgd::new().lr(1.0))];
    let mut optimizer = Optimizer::arena(&webgpu_default_gpu(), &group, &specs(&[len])).unwrap();
    assert_eq!(optimizer.dispatches(), 3);
    let id = ids(&optimizer)[0];
    optimizer.write_grad(id, &vec![1.0; len]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert!(optimizer.read_param(id).unwrap().iter().all(|value| *value == -1.0));
}

#[test]
fn a_step_fits_into_a_pass_with_other_work() {
    let group = [Group::new("all", Sgd::new().lr(1.0).momentum(0.5))];
    let mut optimizer = Optimizer::arena(&gpu(), &group, &specs(&[300])).unwrap();
    let id = ids(&optimizer)[0];
    optimizer.write_grad(id, &[1.0; 300]).unwrap();
    let mut encoder = optimizer.gpu().device().create_command_encoder(&<_>::default());
    let mut pass = encoder.begin_compute_pass(&<_>::default());
    optimizer.record_step(&mut pass, &Step::new()).unwrap();
    optimizer.record_step(&mut pass, &Step::lr(0.5)).unwrap();
    drop(pass);
    optimizer.gpu().queue().submit([encoder.finish()]);
    assert_eq!(optimizer.read_param(id).unwrap(), [-1.75; 300]);
    assert_eq!(optimizer.read_grad(id).unwrap(), [1.0; 300]);

    // The traffic of a step moves everything and changes nothing.
    let traffic = optimizer.traffic().unwrap();
    let mut encoder = optimizer.gpu().device().create_command_encoder(&<_>::default());
    traffic.record(&mut encoder.begin_compute_pass(&<_>::default()));
    optimizer.gpu().queue().submit([encoder.finish()]);
    assert_eq!(optimizer.read_param(id).unwrap(), [-1.75; 300]);
    assert_eq!(optimizer.read_state(id, "momentum_buffer").unwrap(), [1.5; 300]);
}

#[test]
fn the_number_of_dispatches_does_not_depend_on_the_number_of_tensors() {
    let dispatches = |tensors: usize| {
        let optimizer = Optimizer::arena(
            &gpu(),
            &[Group::new("a", AdamW::default()), Group::new("b", AdamW::new().lr(1.0))],
            &(0..tensors)
                .map(|i| TensorSpec::new(format!("t{i}"), [100]).in_group(["a", "b"][i % 2]))
                .collect::<Vec<_>>(),
        );
        optimizer.unwrap().dispatches()
    };
    assert_eq!([dispatches(1), dispatches(10), dispatches(1000), dispatches(3000)], [2; 4]);
}

#[test]
fn more_tensors_than_the_uniform_buffer_holds_give_the_same_bits() {
    let constant = |tensors: usize| {
        let rule = AdamW::new();
        let specs: Vec<_> = (0..tensors).map(|i| TensorSpec::new(format!("t{i}"), [3])).collect();
        let mut optimizer = Optimizer::arena(&gpu(), &[Group::new("all", rule)], &specs).unwrap();
        let ids = ids(&optimizer);
        for id in &ids {
            optimizer.write_param(*id, &[1.0, -2.0, id.index() as f32]).unwrap();
            optimizer.write_grad(*id, &[0.3, 0.2, -0.1]).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
        ids.iter()
            .take(1024)
            .step_by(97)
            .map(|id| optimizer.read_param(*id).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(constant(1024), constant(1025));
}

#[test]
fn different_rules_share_a_pass_and_groups_have_their_own_hyperparameters() {
    let groups = [
        Group::new("adamw", AdamW::new().lr(0.5).eps(0.0).weight_decay(0.0)),
        Group::new("lion", Lion::new().lr(0.25)),
        Group::new("sgd", Sgd::new().lr(0.125)),
        Group::new("sgd up", Sgd::new().lr(2.0).maximize(true)),
    ];
    let tensors = groups.each_ref().map(|g| TensorSpec::new(g.name.clone(), [2]).in_group(&g.name));
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &tensors).unwrap();
    assert_eq!(
        optimizer.dispatches(),
        6,
        "steps counted for each of three rules, and their kernels"
    );
    for id in ids(&optimizer) {
        optimizer.write_grad(id, &[4.0, -4.0]).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    let params: Vec<f32> =
        ids(&optimizer).iter().map(|id| optimizer.read_param(*id).unwrap()[0]).collect();
    assert!((params[0] + 0.5).abs() < 1e-6, "{params:?}");
    assert_eq!(params[1..], [-0.25, -0.5, 8.0]);
}

#[test]
fn a_tensor_without_gradient_stays_as_it_is_and_so_does_its_step() {
    // What looks at all tensors is told apart by those that are there.
    let looks_at_all = |case: &Case| case.rule.scope() == Scope::Optimizer;
    for case in cases().into_iter().filter(|case| !looks_at_all(case)) {
        let specs = specs(&[300, 300, 2]);
        let mut optimizer =
            Optimizer::arena(&gpu(), &[Group::new("all", case.rule.clone())], &specs).unwrap();
        let ids = ids(&optimizer);
        let grad = Rng(1).values(300, 0.1);
        let absent = [ids[1], ids[2]];
        for step in
            [Step::new().without_grad(&absent), Step::new(), Step::new().without_grad(&absent)]
        {
            optimizer.write_grad(ids[0], &grad).unwrap();
            // What lies in the gradient of a tensor without one must not matter.
            optimizer.write_grad(ids[1], &grad).unwrap();
            optimizer.step(&step).unwrap();
        }
        assert_eq!(optimizer.read_steps().unwrap(), [3, 1, 1]);
        if case.rule.keeps_without_grad() {
            // What it counts goes on.
            continue;
        }
        // The second tensor has seen one step: as the first after its first.
        let mut fresh =
            Optimizer::arena(&gpu(), &[Group::new("all", case.rule.clone())], &specs).unwrap();
        fresh.write_grad(ids[0], &grad).unwrap();
        fresh.step(&Step::new()).unwrap();
        let one_step = bits(&fresh.read_param(ids[0]).unwrap());
        assert_eq!(bits(&optimizer.read_param(ids[1]).unwrap()), one_step, "{:?}", case.rule);
        assert_ne!(bits(&optimizer.read_param(ids[0]).unwrap()), one_step);
        for slot in optimizer.slots(ids[1]).unwrap().iter().map(|slot| slot.name) {
            let (found, expected) =
                (optimizer.read_state(ids[1], slot), fresh.read_state(ids[0], slot));
            assert_eq!(bits(&found.unwrap()), bits(&expected.unwrap()), "{slot}");
        }
    }
}

#[test]
fn steps_recorded_together_keep_their_own_learning_rates() {
    let group = [Group::new("all", Sgd::new().lr(1.0))];
    let mut optimizer = Optimizer::arena(&gpu(), &group, &specs(&[1])).unwrap();
    let id = ids(&optimizer)[0];
    optimizer.write_grad(id, &[1.0]).unwrap();
    let mut encoder =
        optimizer.gpu().device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for power in 0..10 {
        optimizer.encode_step(&mut encoder, &Step::lr(f64::from(1 << power))).unwrap();
    }
    optimizer.encode_step(&mut encoder, &Step::lr_factor(0.5)).unwrap();
    optimizer.encode_step(&mut encoder, &Step::lr_per_group(&[0.25])).unwrap();
    optimizer.gpu().queue().submit([encoder.finish()]);
    assert_eq!(optimizer.read_param(id).unwrap(), [-1023.75]);
    assert_eq!(optimizer.read_steps().unwrap(), [12]);
}

#[test]
fn a_dropped_encoder_is_a_step_that_never_was() {
    let group = [Group::new("all", AdamW::default())];
    let mut optimizer = Optimizer::arena(&gpu(), &group, &specs(&[10])).unwrap();
    let encoder = |o: &Optimizer| {
        o.gpu().device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    };
    for _ in 0..200 {
        let mut dropped = encoder(&optimizer);
        optimizer.encode_step(&mut dropped, &Step::new()).unwrap();
    }
    assert_eq!(optimizer.read_steps().unwrap(), [0]);

    let mut kept = encoder(&optimizer);
    for _ in 0..64 {
        optimizer.encode_step(&mut kept, &Step::new()).unwrap();
    }
    let error = optimizer.encode_step(&mut kept, &Step::new()).unwrap_err();
    assert!(matches!(error, fallline::Error::TooManyUnsubmittedSteps { limit: 64 }), "{error}");
    optimizer.gpu().queue().submit([kept.finish()]);
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_steps().unwrap(), [65]);
}

#[test]
fn slices_are_where_the_values_are() {
    let gpu = gpu();
    let tensors = [
        TensorSpec::new("scalar", []),
        TensorSpec::new("none", [3, 0]),
        TensorSpec::new("m", [5, 7]),
    ];
    let optimizer =
        Optimizer::arena(&gpu, &[Group::new("all", Lion::default())], &tensors).unwrap();
    let lengths: Vec<u64> =
        ids(&optimizer).iter().map(|id| optimizer.param(*id).unwrap().size()).collect();
    assert_eq!(lengths, [4, 0, 140]);
    let m = optimizer.id("m").unwrap();
    let slice = optimizer.grad(m).unwrap();
    assert_eq!(slice.offset() % 1024, 0);
    optimizer.write_grad(m, &[2.5; 35]).unwrap();
    let grads = common::read(&gpu, slice.buffer());
    let first = usize::try_from(slice.offset() / 4).unwrap();
    assert_eq!(grads[first..first + 35], [2.5; 35]);
    assert_eq!(grads.iter().filter(|g| **g != 0.0).count(), 35);
}

#[test]
fn an_optimizer_of_nothing_steps() {
    for (specs, dispatches) in [(specs(&[]), 0), (specs(&[0, 0]), 1)] {
        let group = [Group::new("all", AdamW::default())];
        let mut optimizer = Optimizer::arena(&gpu(), &group, &specs).unwrap();
        optimizer.step(&Step::new()).unwrap();
        assert_eq!(optimizer.dispatches(), dispatches);
        assert_eq!(optimizer.read_steps().unwrap(), vec![1; specs.len()]);
        for id in ids(&optimizer) {
            assert_eq!(optimizer.read_param(id).unwrap(), [0.0; 0]);
        }
    }
}
