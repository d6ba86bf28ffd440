//! Where rules of elements differ from torch's on purpose, and what is particular to one of them.

use fallline::{
    Adagrad, Adamax, Asgd, Error, Group, IntoRule, Optimizer, RAdam, Rprop, Sgd, Step, TensorId,
    TensorSpec,
};

use crate::common::{gpu, specs, write_grads};

const ID: TensorId = TensorId::new(0);

fn arena(rule: impl IntoRule, param: &[f32]) -> Optimizer {
    let group = [Group::new("all", rule)];
    let optimizer = Optimizer::arena(&gpu(), &group, &specs(&[param.len()])).unwrap();
    optimizer.write_param(ID, param).unwrap();
    optimizer
}

/// The parameter after a step with this gradient.
fn step(optimizer: &mut Optimizer, grad: &[f32]) -> Vec<f32> {
    write_grads(optimizer, &[grad.to_vec()]);
    optimizer.step(&Step::new()).unwrap();
    optimizer.read_param(ID).unwrap()
}

#[test]
fn adagrads_sum_begins_as_its_group_says_and_only_then() {
    let groups = [0.5, 2.0].map(|initial| {
        let rule = Adagrad::new().initial_accumulator_value(initial);
        Group::new(initial.to_string(), rule)
    });
    let of = |group: &Group| TensorSpec::new(&group.name, [5]).in_group(&group.name);
    let tensors: Vec<_> = groups.iter().map(of).collect();
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &tensors).unwrap();
    write_grads(&optimizer, &[vec![1.0; 5], vec![1.0; 5]]);
    for taken in [1.0, 2.0] {
        optimizer.step(&Step::new()).unwrap();
        for (index, initial) in [(0, 0.5), (1, 2.0)] {
            let sum = optimizer.read_state(TensorId::new(index), "sum").unwrap();
            assert_eq!(sum, [initial + taken; 5]);
        }
    }
}

#[test]
fn adamax_leaves_what_never_had_a_gradient() {
    let mut optimizer = arena(Adamax::new().eps(0.0).lr(0.5), &[1.0; 3]);
    let param = step(&mut optimizer, &[0.0, 2.0, f32::NAN]);
    // The first step is of the learning rate's size.
    assert_eq!(param[0], 1.0);
    assert!((param[1] - 0.5).abs() < 1e-6 && param[2].is_nan(), "{param:?}");
    let param = step(&mut optimizer, &[0.0; 3]);
    assert!(param[0] == 1.0 && param[1] < 0.5 && param[2].is_nan(), "{param:?}");
}

#[test]
fn radam_is_rectified_from_the_first_step_with_rho_above_5() {
    // By the formula with 80 digits: none with rho_inf = 5, one that comes late, and such as f32 has no
    // digits for.
    for (beta2, first) in [
        (0.999, Some(6)),
        (0.8, Some(7)),
        (0.7, Some(10)),
        (1.0 - 1e-9, Some(6)),
        (1.0 - 1e-7, Some(6)),
        (2.0 / 3.0, None),
        (0.0, None),
    ] {
        let rule = RAdam::new().lr(0.5).betas((0.0, beta2)).eps(1e6);
        let mut optimizer = arena(rule, &[0.0]);
        let mut moves = |t: u32| {
            optimizer.write_step(ID, t - 1).unwrap();
            optimizer.write_param(ID, &[0.0]).unwrap();
            step(&mut optimizer, &[1.0]) == [-0.5]
        };
        let last = first.map_or(20_000_000, |first| first - 1);
        assert!([1, 2, last].map(&mut moves) == [true; 3], "{beta2}");
        if let Some(first) = first {
            // Such an eps makes a step by the second moment tiny.
            assert!([first, first + 1, 20_000_000].map(&mut moves) == [false; 3], "{beta2}");
        }
    }
}

#[test]
fn asgd_takes_another_learning_rate_one_step_late() {
    let mut optimizer = arena(Asgd::new().lr(0.5).lambd(0.0), &[1.0; 3]);
    write_grads(&optimizer, &[vec![1.0; 3]]);
    for (lr, expected) in [(0.25f32, 0.75), (0.0, 0.5), (0.125, 0.5), (0.25, 0.375)] {
        optimizer.step(&Step::lr(lr.into())).unwrap();
        assert_eq!(optimizer.read_param(ID).unwrap(), [expected; 3], "{lr}");
        assert_eq!(optimizer.read_state(ID, "eta").unwrap(), [lr]);
    }
}

#[test]
fn asgd_averages_the_iterates_from_the_second_step_behind_t0_on() {
    let mut optimizer = arena(Asgd::new().lr(1.0).lambd(0.0).t0(2.0), &[0.0; 3]);
    for (iterate, average) in
        [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0), (5.0, 4.5), (6.0, 5.0)]
    {
        assert_eq!(step(&mut optimizer, &[-1.0; 3]), [iterate; 3]);
        let found = optimizer.read_state(ID, "ax").unwrap();
        assert!(found.iter().all(|found| (found - average).abs() < 1e-6), "{found:?}");
    }
}

#[test]
fn rprop_compares_signs_and_not_their_product() {
    // Of 1e-30 and 1e-30 the product is no f32.
    let mut optimizer = arena(Rprop::new().lr(0.5).etas((0.5, 2.0)), &[0.0; 5]);
    step(&mut optimizer, &[1e-30, -1e-30, 1.0, 0.0, 1.0]);
    let param = step(&mut optimizer, &[1e-30, 1e-30, 1e-30, 1.0, f32::NAN]);
    assert_eq!(param[..4], [-1.5, 0.5, -1.5, -0.5]);
    assert!(param[4].is_nan());
    assert_eq!(optimizer.read_state(ID, "step_size").unwrap()[..4], [1.0, 0.25, 1.0, 0.5]);
    assert_eq!(optimizer.read_state(ID, "prev").unwrap()[..4], [1e-30, 0.0, 1e-30, 1.0]);
    // Where the sign has turned, the next step is by the same size.
    let param = step(&mut optimizer, &[1e-30, 1e-30, 0.0, -1.0, 0.0]);
    assert_eq!(param[..4], [-3.5, 0.25, -1.5, -0.5]);
}

#[test]
fn a_fixed_learning_rate_takes_no_other() {
    let groups = [Group::new("a", Sgd::new().lr(0.01)), Group::new("b", Rprop::new().lr(0.01))];
    let tensors = ["a", "b"].map(|name| TensorSpec::new(name, [4]).in_group(name));
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &tensors).unwrap();
    write_grads(&optimizer, &[vec![1.0; 4], vec![1.0; 4]]);
    for step in [
        Step::lr(0.005),
        Step::lr_factor(0.5),
        Step::lr_factor(0.0),
        Step::lr_per_group(&[0.01, 0.005]),
        Step::lr_per_tensor(&[0.01, 0.005]),
    ] {
        let error = optimizer.step(&step).unwrap_err();
        assert!(matches!(&error, Error::LearningRate { group, .. } if group == "b"), "{error}");
    }
    assert_eq!(
        optimizer.step(&Step::lr(0.005)).unwrap_err().to_string(),
        "group 'b': the learning rate of a step must be 0.01, which rprop takes once and for all, \
         found 0.005"
    );
    assert_eq!(optimizer.read_steps().unwrap(), [0, 0]);
    // Another group may have any, and one that was an f32 is the same.
    let same = f64::from(0.01f32);
    for step in
        [Step::lr(0.01), Step::lr_per_group(&[0.3, 0.01]), Step::lr_per_tensor(&[0.3, same])]
    {
        optimizer.step(&step).unwrap();
    }
    assert_eq!(optimizer.read_steps().unwrap(), [3, 3]);
}
