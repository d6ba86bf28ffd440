// Precision: that of f32, for a bf16 parameter, in 16 bits more. (The idea is that of NVIDIA apex's
// `store_param_remainders` and of FlashOptim's weight correction.)
//
//   magnitude of the f32 = (magnitude of the bf16 << 16) + remainder,  -32768 <= remainder <= 32767
//
// on the bits of both, so that the pair is the f32 exactly. The bf16 is the nearest code, ties away
// from zero: ties to even would give an even code 65,537 values, one more than 16 bits tell apart.
// A NaN becomes quiet and loses the lower half of its payload.
//
// Where the caller wrote the parameter, the old remainder stays, which is less than a unit in
// its last place; two clamps keep a parameter that was set to zero or to infinity from becoming a NaN.

alias MasterWord = vec2<u32>;

fn load_param(place: Place) -> vec4<f32> {
    let codes = param_codes(place.param, place.count);
    return join_remainder(codes, unpack_codes(master[place.tile * 64u + place.part]));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    let code = round_away(value);
    set_param_codes(place.param, code, place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = pack_codes(remainder_of(value, code));
    }
}
