// A piece of a tensor: what a row of lanes works on.

struct Chunk {
    tensor: u32,
    // First vec4 of the chunk, counted from the tensor's first element.
    first_vec4: u32,
    // Elements in the chunk, at most 256.
    len_elems: u32,
}

// Elements of the chunk's n-th vec4: 4, fewer in the one that holds the tensor's end, 0 behind it.
fn elems_of(len_elems: u32, n: u32) -> u32 {
    return min(len_elems - min(n * 4u, len_elems), 4u);
}
