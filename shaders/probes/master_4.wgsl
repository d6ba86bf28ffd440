// An f32 copy beside the parameter, both moved as they are: for probes/traffic.wgsl, in the place of a file
// of precision/.

alias MasterWord = vec4<f32>;

fn load_param(place: Place) -> vec4<f32> {
    return bitcast<vec4<f32>>(param_codes(place.param, place.count));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    set_param_codes(place.param, bitcast<vec4<u32>>(value), place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = mixed(master[place.tile * 64u + place.part], value, tensor);
    }
}
