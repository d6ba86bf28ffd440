// A rule that looks at no more than an element, where something else sums over tensors.

fn terms(
    param: vec4<f32>,
    grad: vec4<f32>,
    proposal: Proposal,
    tensor: Tensor,
    hyper: Hyper,
) -> Terms {
    return Terms();
}

fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars {
    return before;
}
