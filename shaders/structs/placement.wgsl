// What is known of a tensor once and for all: its group, how long it is, where its state lies.

struct Placement {
    group: u32,
    // The first vec4 of its state, counted in elements of the segment: in the arena that of every role.
    first_vec4: u32,
    // Whole vec4s, and elements behind the last of these.
    len_vec4: u32,
    tail_elems: u32,
    // For stochastic rounding: the tensor's number, and where it begins in the whole that it is a piece of.
    number: u32,
    whole_vec4: u32,
    // What is summed over its first tile, among the sums of all tiles.
    first_sum: u32,
    // The rule's number among those of the optimizer.
    rule: u32,
}
