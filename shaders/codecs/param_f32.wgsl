// Parameters in f32, four to a word.

alias ParamWord = vec4<f32>;

fn load_param(at: u32, count: u32) -> vec4<f32> {
    return param[at];
}

fn store_param(at: u32, value: vec4<f32>, count: u32) {
    if (count != 0u) {
        param[at] = value;
    }
}
