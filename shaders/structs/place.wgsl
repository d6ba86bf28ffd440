// Where a lane's four elements lie.

struct Place {
    // The vec4 in the binding of the parameter.
    param: u32,
    // The vec4 in the binding of the gradient.
    grad: u32,
    // The tile of 256 elements in the bindings of state and master copy, and the vec4 in it.
    tile: u32,
    part: u32,
    // The vec4 counted from the first element of the tensor, or of the whole that it is a piece of.
    index: u32,
    // How many of the elements exist: 4, fewer at a tensor's end; 0: nothing is stored.
    count: u32,
    // The lane within its workgroup.
    lane: u32,
}
