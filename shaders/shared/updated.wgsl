// What a rule gives back.

struct Updated {
    param: vec4<f32>,
    state: State,
}
