// Precision: the parameter's own, rounded to the nearest code. An update of less than half a unit in
// the last place is lost.

alias MasterWord = u32;

fn load_param(place: Place) -> vec4<f32> {
    return decode_param(param_codes(place.param, place.count));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    set_param_codes(place.param, encode_param(value), place.count);
}
