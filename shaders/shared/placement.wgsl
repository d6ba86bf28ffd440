// The group of a tensor, where it lies (the vec4 of its buffers), and how long it is.

struct Placement {
    group: u32,
    param_vec4: u32,
    grad_vec4: u32,
    state_vec4: u32,
    // Whole vec4s, and elements behind the last of these.
    len_vec4: u32,
    tail_elems: u32,
    padding0: u32,
    padding1: u32,
}
