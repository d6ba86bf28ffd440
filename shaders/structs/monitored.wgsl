// What a monitored step tells of a tensor, or of a group: a row of an entry for reports, as words.
//
// An entry begins with the step's number, in a row of its own; then come the groups, then the tensors if they are told.

// (Words, since a number of a few bits would be a subnormal f32, and might not survive.)
fn row_of(grad_norm: u32, update_norm: f32, weight_norm: f32, lr: f32) -> vec4<u32> {
    return vec4<u32>(grad_norm, bitcast<u32>(update_norm), bitcast<u32>(weight_norm), bitcast<u32>(lr));
}
