// A remainder of 8 bits beside the parameter, both moved as they are: for probes/traffic.wgsl, in the place of a file
// of precision/.

alias MasterWord = u32;

fn load_param(place: Place) -> vec4<f32> {
    return bitcast<vec4<f32>>(param_codes(place.param, place.count));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    set_param_codes(place.param, bitcast<vec4<u32>>(value), place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = bitcast<u32>(mixed(vec4<f32>(bitcast<f32>(master[place.tile * 64u + place.part])), value, tensor).x);
    }
}
