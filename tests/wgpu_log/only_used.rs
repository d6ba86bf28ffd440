//! What is compiled for an optimizer of one rule: what that rule uses, and nothing else.

use std::sync::Arc;

use fallline::{
    BorrowedTensor, BufferRange, Group, Optimizer, Options, RULE_NAMES, Rule, Scope, SlotShape,
    Step, TensorSpec, rule_by_name, wgpu,
};

use crate::{
    Log,
    common::{buffer, gpu},
};

/// A matrix, whose length is a multiple of four.
fn spec() -> TensorSpec {
    TensorSpec::new("t", [40, 30])
}

/// The kernels of a step of a rule that does not clip: steps are counted, and tensors updated; what looks at more than an
/// element is summed before, and decided; by what looks at more than a tensor, once more; rows, columns and blocks are
/// summed and kept, and rows averaged.
fn kernels_of(rule: &dyn Rule) -> usize {
    let sums = rule.scope() != Scope::Element;
    let gathers = matches!(rule.scope(), Scope::Group | Scope::Optimizer);
    let is_of_matrix = |shape| matches!(shape, SlotShape::Rows | SlotShape::Columns);
    let is_vector = |shape| is_of_matrix(shape) || matches!(shape, SlotShape::Blocks(_));
    let shapes: Vec<SlotShape> = rule.slots(&spec()).iter().map(|slot| slot.shape).collect();
    let has_vectors = shapes.iter().any(|shape| is_vector(*shape));
    let has_matrices = shapes.iter().any(|shape| is_of_matrix(*shape));
    2 + 2 * usize::from(sums)
        + usize::from(gathers)
        + 2 * usize::from(has_vectors)
        + usize::from(has_matrices)
}

/// Pipelines that are made for an optimizer and its first step, each from a module of its own; on a device that has
/// none yet.
fn compiled(log: &Log, build: impl Fn(&fallline::Gpu) -> Optimizer) -> usize {
    let gpu = gpu();
    log.forget();
    let mut optimizer = build(&gpu);
    optimizer.step(&Step::new()).unwrap();
    let count = |what| log.with(&[what]).len();
    let pipelines = count("Device::create_compute_pipeline");
    assert_eq!(count("Device::create_shader_module"), pipelines);
    // The second step uses what there is.
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(count("Device::create_compute_pipeline"), pipelines);
    pipelines
}

#[test]
fn an_optimizer_compiles_the_kernels_of_its_rule_alone() {
    let log = Log::listen();
    for name in RULE_NAMES {
        let rule = rule_by_name(name).unwrap();
        let arena = |group: Group, options: Options| {
            compiled(&log, |gpu| {
                Optimizer::arena_with(gpu, std::slice::from_ref(&group), &[spec()], &options)
                    .unwrap()
            })
        };
        let group = |rule: &Arc<dyn Rule>| Group::new("all", rule.clone());
        let expected = kernels_of(&*rule);
        assert_eq!(arena(group(&rule), Options::default()), expected, "{name}");
        // Squares, their sums, and a decision.
        let clips = Options { max_norm: Some(1.0), ..Options::default() };
        assert_eq!(arena(group(&rule), clips), expected + 3, "{name}, clipped to a norm");
        let clips = Options { clip_value: Some(1.0), ..Options::default() };
        assert_eq!(arena(group(&rule), clips), expected, "{name}, clipped by value");
        assert_eq!(arena(group(&rule).ema_decay(0.9), Options::default()), expected, "{name}");
        if !rule.moves_state() {
            let more = if rule.scope() == Scope::Element { 2 } else { 0 };
            let cautious = arena(group(&rule).caution(true), Options::default());
            assert_eq!(cautious, expected + more, "{name}, cautious");
        }
        // What finds tiles that have moved, as they may in any step.
        let borrowed = compiled(&log, |gpu| {
            let range = || {
                let lent = buffer(gpu, &[0.0; 1200], wgpu::BufferUsages::STORAGE);
                BufferRange::new(&lent, 0, 1200)
            };
            let tensor = BorrowedTensor { spec: spec(), param: range(), grad: Some(range()) };
            Optimizer::borrowed(gpu, &[group(&rule)], &[tensor]).unwrap()
        });
        assert_eq!(borrowed, expected + 1, "{name}, over borrowed buffers");
    }
}
