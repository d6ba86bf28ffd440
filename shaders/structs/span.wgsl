// The partials of a group, or of all, and what is decided by them.

struct Span {
    first: u32,
    end: u32,
    // The largest f32 for no limit.
    max_norm: f32,
    // Whether max_norm is the group's own limit; else it is clipped with all others.
    own: u32,
    // The rule is safe for gradients below this power of two.
    bound_exponent: i32,
}
