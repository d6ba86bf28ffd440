// A rule that keeps nothing of columns.

fn keep_column(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 {
    return before;
}
