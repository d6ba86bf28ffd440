// The group of a tensor, and where it lies: the vec4 of its buffers.

struct Placement {
    group: u32,
    param_vec4: u32,
    grad_vec4: u32,
    state_vec4: u32,
}
