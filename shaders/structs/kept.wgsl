// The scalars that a rule keeps from step to step, up to four of each.

struct Kept {
    tensor: vec4<f32>,
    // Of all tensors that the rule's sums go over: those of a group, or of all groups.
    joint: vec4<f32>,
}
