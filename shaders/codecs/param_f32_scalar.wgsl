// Parameters in f32, one to a word: for a tensor's end, where four would reach too far.

alias ParamWord = f32;

fn load_param(at: u32, count: u32) -> vec4<f32> {
    var value = vec4<f32>();
    for (var i = 0u; i < count; i++) {
        value[i] = param[at * 4u + i];
    }
    return value;
}

fn store_param(at: u32, value: vec4<f32>, count: u32) {
    var words = value;
    for (var i = 0u; i < count; i++) {
        param[at * 4u + i] = words[i];
    }
}
