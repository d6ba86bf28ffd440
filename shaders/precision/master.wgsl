// Precision: a master copy in f32, of which the parameter is the nearest code. (Micikevicius et al.
// 2018, "Mixed Precision Training", section 3.1.)
//
// Where the parameter is not the master's code, the caller wrote it (at the beginning, the
// runtime; later, a checkpoint or a projection): such an element starts again from what they wrote.

alias MasterWord = vec4<f32>;

fn load_param(place: Place) -> vec4<f32> {
    let codes = param_codes(place.param, place.count);
    let kept = master[place.tile * 64u + place.part];
    return select(decode_param(codes), kept, encode_param(kept) == codes);
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    set_param_codes(place.param, encode_param(value), place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = value;
    }
}
