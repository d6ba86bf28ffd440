//! What rules sum over more than a tensor: over groups and over all, whoever takes the step.

use fallline::{
    Group, Optimizer, Options, OutOfRange, Rule, Saved, Scope, Slot, Source, Step, TensorId,
    TensorSpec,
};

use crate::common::{gpu, tiny_gpu};

/// Keeps, of all tensors that its sums go over: the sum of their gradients, how many elements there were, how many
/// steps; and steps by that sum.
const WGSL: &str = "
struct Hyper { padding0: vec4<f32>, padding1: vec4<f32>, }
struct StepHyper { bonus: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
struct Scalars { lr: f32, step: f32, padding0: vec2<f32>, }
struct State { none: u32, }
fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 0.0, vec2<f32>());
}
fn propose(param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> Proposal {
    return Proposal(grad, state);
}
fn terms(param: vec4<f32>, grad: vec4<f32>, proposal: Proposal, tensor: Tensor, hyper: Hyper) -> Terms {
    return Terms(grad, vec4<f32>());
}
fn keep_joint(sums: vec4<f32>, before: vec4<f32>, hyper: StepHyper) -> vec4<f32> {
    return vec4<f32>(sums.x, sums.w, before.z + 1.0, hyper.bonus);
}
fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(before.lr, before.lr * kept.joint.x, vec2<f32>());
}
fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.step;
}
fn state_of(slots: Slots) -> State { return State(); }
fn slots_of(state: State) -> Slots { return Slots(); }";

#[derive(Clone, Copy, Debug)]
struct Sum {
    scope: Scope,
    bonus: f64,
}

impl Rule for Sum {
    fn source(&self) -> Source {
        Source { path: "sum", text: WGSL }
    }
    fn lr(&self) -> f64 {
        0.5
    }
    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }
    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        ["sum", "elements", "steps", "bonus"].map(Slot::joint).to_vec()
    }
    fn hyper(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("bonus", self.bonus)]
    }
    fn scope(&self) -> Scope {
        self.scope
    }
}

const LENS: [usize; 5] = [3, 1000, 0, 7, 400];

/// Tensors 0, 2 and 4 in one group, the others in another.
fn optimizer(gpu: &fallline::Gpu, scope: Scope) -> Optimizer {
    let rule = |bonus| Sum { scope, bonus };
    let groups = [Group::new("a", rule(1.0)), Group::new("b", rule(2.0))];
    let spec = |(i, len): (usize, usize)| {
        TensorSpec::new(format!("t{i}"), [len]).in_group(["a", "b"][i % 2])
    };
    let specs: Vec<_> = LENS.into_iter().enumerate().map(spec).collect();
    let optimizer = Optimizer::arena_with(gpu, &groups, &specs, &Options::default()).unwrap();
    for (index, len) in LENS.into_iter().enumerate() {
        optimizer.write_grad(TensorId::new(index), &vec![1.0 + index as f32; len]).unwrap();
    }
    optimizer
}

fn joint(optimizer: &Optimizer, tensor: usize) -> Vec<f32> {
    let id = TensorId::new(tensor);
    let slots = ["sum", "elements", "steps", "bonus"];
    slots.iter().map(|slot| optimizer.read_state(id, slot).unwrap()[0]).collect()
}

#[test]
fn a_group_has_its_own_sum_and_the_optimizer_one_of_all() {
    for gpu in [gpu(), tiny_gpu()] {
        let mut by_group = optimizer(&gpu, Scope::Group);
        by_group.step(&Step::new()).unwrap();
        let (a, b) = (3.0 + 5.0 * 400.0, 2.0 * 1000.0 + 4.0 * 7.0);
        assert_eq!(joint(&by_group, 0), [a, 403.0, 1.0, 1.0]);
        assert_eq!(joint(&by_group, 4), joint(&by_group, 0));
        assert_eq!(joint(&by_group, 3), [b, 1007.0, 1.0, 2.0]);
        assert_eq!(by_group.read_param(TensorId::new(1)).unwrap()[999], -0.5 * b);

        let mut of_all = optimizer(&gpu, Scope::Optimizer);
        of_all.step(&Step::new()).unwrap();
        // With the hyperparameters of the first group.
        assert_eq!(joint(&of_all, 3), [a + b, 1410.0, 1.0, 1.0]);
        assert_eq!(of_all.read_param(TensorId::new(4)).unwrap()[0], -0.5 * (a + b));
    }
}

#[test]
fn who_takes_no_step_is_in_no_sum() {
    let mut optimizer = optimizer(&gpu(), Scope::Group);
    let absent = [1, 3, 4].map(TensorId::new);
    optimizer.step(&Step::new().without_grad(&absent)).unwrap();
    assert_eq!(joint(&optimizer, 0), [3.0, 3.0, 1.0, 1.0]);
    // Nobody of the other group: nothing is kept of the step.
    assert_eq!(joint(&optimizer, 1), [0.0; 4]);
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(joint(&optimizer, 0)[2], 2.0);
    assert_eq!(joint(&optimizer, 1)[2], 1.0);
}

#[test]
fn a_skipped_step_keeps_nothing() {
    let specs = [TensorSpec::new("t", [5])];
    let groups = [Group::new("a", Sum { scope: Scope::Optimizer, bonus: 1.0 })];
    let options = Options { skip_non_finite: true, ..Options::default() };
    let mut optimizer = Optimizer::arena_with(&gpu(), &groups, &specs, &options).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &[f32::NAN; 5]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(joint(&optimizer, 0), [0.0; 4]);
    optimizer.write_grad(id, &[1.0; 5]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(joint(&optimizer, 0), [5.0, 5.0, 1.0, 1.0]);
}

#[test]
fn joint_scalars_are_saved_and_stay_when_tensors_come_and_go() {
    let mut optimizer = optimizer(&gpu(), Scope::Group);
    optimizer.step(&Step::new()).unwrap();
    let before = [0, 1].map(|tensor| joint(&optimizer, tensor));
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    let mut loaded = self::optimizer(&gpu(), Scope::Group);
    loaded.load(&mut saved).unwrap();
    assert_eq!([0, 1].map(|tensor| joint(&loaded, tensor)), before);

    optimizer.remove_tensors(&[TensorId::new(3)]).unwrap();
    let more = TensorSpec::new("more", [9]).in_group("b");
    let id = optimizer.add_tensors(&[more]).unwrap()[0];
    assert_eq!([0, 1].map(|tensor| joint(&optimizer, tensor)), before);
    assert_eq!(joint(&optimizer, id.index()), before[1]);
}
