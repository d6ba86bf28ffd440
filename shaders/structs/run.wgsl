// Consecutive tiles of one tensor, in the windows of one dispatch.

struct Run {
    // The run's first tile among those of all dispatches, and among those of its own.
    first_tile: u32,
    first_of_dispatch: u32,
    tensor: u32,
    // First vec4 of the run, counted from the tensor's first element.
    first_vec4: u32,
    // Elements of the run; 0: its tiles fill a workgroup up.
    len_elems: u32,
    // Where it begins: the vec4 in the windows of parameter and gradient, the tile in those of state and
    // master.
    param_vec4: u32,
    grad_vec4: u32,
    state_tile: u32,
}
