// What a rule proposes for four elements.

struct Proposal {
    // What `apply` makes the new parameter of.
    direction: vec4<f32>,
    // The new state.
    state: State,
}
