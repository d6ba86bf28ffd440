// Precision: the parameter's own, rounded up or down stochastically, so that small updates are kept on
// the average. (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision".)
//
//   P(away from zero) = dropped bits / unit in the last place
//
// The chance is a function of seed, tensor, step and element: the same step gives the same bits,
// and there is no generator state to keep.

alias MasterWord = u32;

fn load_param(place: Place) -> vec4<f32> {
    return decode_param(param_codes(place.param, place.count));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    let random = noise(vec4<u32>(place.index, tensor.number, tensor.step, hypers.seed));
    set_param_codes(place.param, encode_param_stochastic(value, random), place.count);
}
