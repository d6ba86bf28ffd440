//! Traces, right and wrong.

use safetensors::serialize;

use super::*;

/// A file of these f32 tensors, given as (name, values): without dimensions if there is one value.
fn file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, values), bytes)| {
        let shape = if values.len() == 1 { vec![] } else { vec![values.len()] };
        (*name, TensorView::new(Dtype::F32, shape, bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

const PARAM: (&str, &[f32]) = ("param/w", &[1.0]);

fn says(tensors: &[(&str, &[f32])]) -> String {
    let bytes = file(&[&[PARAM], tensors].concat());
    format!("{:#}", Trace::parse(&bytes).unwrap_err())
}

#[test]
fn a_learning_rate_is_that_of_the_base_or_one_for_each_group() {
    let bytes = file(&[PARAM, ("lr/1", &[0.25]), ("lr/3", &[0.5, 0.0, 0.125])]);
    let trace = Trace::parse(&bytes).unwrap();
    assert_eq!((trace.steps, trace.lrs.len()), (3, 2));
    assert_eq!(trace.lrs[&1], [0.25]);
    assert_eq!(trace.lrs[&3], [0.5, 0.0, 0.125]);
    for (values, found) in
        [([-1.0, 1.0], "-1"), ([1.0, f32::NAN], "NaN"), ([f32::INFINITY, 1.0], "inf")]
    {
        let expected = format!("tensor 'lr/1': must be finite and >= 0, found {found}");
        assert_eq!(says(&[("lr/1", &values)]), expected);
    }
}

#[test]
fn averages_and_the_estimate_have_names_of_their_own() {
    let bytes = file(&[PARAM, ("expect_average/w", &[0.5]), ("expect_d", &[0.25])]);
    let trace = Trace::parse(&bytes).unwrap();
    assert_eq!(trace.estimate, Some(vec![0.25]));
    let Expected { key, what, name, .. } = &trace.expected[0];
    assert_eq!((key.as_str(), name.as_str()), ("expect_average/w", "w"));
    assert!(matches!(what, What::State(slot) if slot == "average"), "{what:?}");
    let two = says(&[("expect_d", &[1.0, 2.0])]);
    assert_eq!(two, "tensor 'expect_d': must be one number, found shape [2]");
    let none = says(&[("expect_average/v", &[1.0])]);
    assert_eq!(none, "tensor 'expect_average/v': there is no 'param/v'");
    let more = says(&[("expect_d/w", &[1.0])]);
    assert!(more.starts_with("tensor 'expect_d/w': the name must be param/<name>, "), "{more}");
}

#[test]
fn a_gap_of_ten_thousand_steps_is_the_longest() {
    let steps = |tensors: &[(&str, &[f32])]| {
        let bytes = file(&[&[PARAM], tensors].concat());
        Trace::parse(&bytes).map(|trace| trace.steps).map_err(|error| format!("{error:#}"))
    };
    let gap = |key: &str, first: u32, last: u32| {
        Err(format!(
            "tensor '{key}': steps {first} to {last} have no gradient; at most 10000 steps in a \
             row may have none, found {}",
            last - first + 1
        ))
    };
    let one: &[f32] = &[1.0];
    // Before the first gradient, between two, and behind the last.
    assert_eq!(steps(&[("grad/10001/w", one)]), Ok(10_001));
    assert_eq!(steps(&[("grad/10002/w", one)]), gap("grad/10002/w", 1, 10_001));
    assert_eq!(steps(&[("grad/3000000/w", one)]), gap("grad/3000000/w", 1, 2_999_999));
    assert_eq!(steps(&[("grad/5/w", one), ("grad/10006/w", one)]), Ok(10_006));
    assert_eq!(
        steps(&[("grad/5/w", one), ("grad/10007/w", one), ("grad/2/w", one)]),
        gap("grad/10007/w", 6, 10_006)
    );
    assert_eq!(steps(&[("grad/4294967295/w", one)]), gap("grad/4294967295/w", 1, u32::MAX - 1));
    assert_eq!(steps(&[("grad/5/w", one), ("lr/10005", one)]), Ok(10_005));
    assert_eq!(steps(&[("grad/5/w", one), ("lr/10006", one)]), gap("lr/10006", 6, 10_006));
    // Learning rates are no gradients, and no gradients are no reason to run for hours.
    assert_eq!(steps(&[("lr/7000", one), ("lr/14000", one)]), gap("lr/14000", 1, 14_000));
    assert_eq!(steps(&[]), Ok(0));
}

#[test]
fn estimates_are_for_a_step_of_the_run() {
    let bytes = file(&[PARAM, ("hessian/2/w", &[0.5]), ("grad/2/w", &[0.25])]);
    assert_eq!(Trace::parse(&bytes).unwrap().hessians[&2].len(), 1);
    let grad: (&str, &[f32]) = ("grad/1/w", &[1.0]);
    assert_eq!(says(&[grad, ("hessian/2/w", &[1.0])]), "tensor 'hessian/2/w': the run has 1 steps");
    assert_eq!(
        says(&[grad, ("hessian/1/v", &[1.0])]),
        "tensor 'hessian/1/v': there is no 'param/v'"
    );
}
