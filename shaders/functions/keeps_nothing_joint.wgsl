// A rule without scalars that many tensors have in common.

fn keep_joint(sums: vec4<f32>, before: vec4<f32>, hyper: StepHyper) -> vec4<f32> {
    return before;
}
