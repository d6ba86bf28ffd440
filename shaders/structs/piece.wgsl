// A part of a tensor's gradient, in the window of one dispatch: rows of 64 tiles, or units of a matrix.

struct Piece {
    // Its first workgroup among those of the dispatch.
    first_workgroup: u32,
    tensor: u32,
    // Elements from its first to its last; 0 counts as zero. Or units.
    len: u32,
    // Where it begins in the window.
    grad_vec4: u32,
    // The partial of its first row; or its first unit among those of the tensor.
    first: u32,
    // By how many tiles the first row is short, since the tensor begins in the midst of it; or how many elements lie
    // between its first vec4's beginning and its own.
    lead: u32,
    padding0: u32,
    padding1: u32,
}
