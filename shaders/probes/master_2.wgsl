// A remainder of 16 bits beside the parameter, both moved as they are: for probes/traffic.wgsl, in the place of a file
// of precision/.

alias MasterWord = vec2<u32>;

fn load_param(place: Place) -> vec4<f32> {
    return bitcast<vec4<f32>>(param_codes(place.param, place.count));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    set_param_codes(place.param, bitcast<vec4<u32>>(value), place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = bitcast<vec4<u32>>(mixed(vec4<f32>(bitcast<vec2<f32>>(master[place.tile * 64u + place.part]), 0.0, 0.0), value, tensor)).xy;
    }
}
