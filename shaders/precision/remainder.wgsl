// Precision: that of f32, for a bf16 parameter, in 16 bits more. (The idea is that of NVIDIA apex's
// `store_param_remainders` and of FlashOptim's weight correction.)
//
//   magnitude of the f32 = (magnitude of the bf16 << 16) + remainder,  -32768 <= remainder <= 32767
//
// on the bits of both, so that the pair is the f32 exactly. The bf16 is the nearest code, ties away
// from zero: ties to even would give an even code 65,537 values, one more than 16 bits tell apart.
// A NaN becomes quiet and loses the lower half of its payload.
//
// Where somebody else wrote the parameter, the old remainder stays, which is less than a unit in
// its last place; two clamps keep a parameter that was set to zero or to infinity from becoming a NaN.

alias MasterWord = vec2<u32>;

fn load_param(place: Place) -> vec4<f32> {
    let codes = param_codes(place.param, place.count);
    return join_remainder(codes, unpack_codes(master[place.home]));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    let code = round_away(value);
    set_param_codes(place.param, code, place.count);
    if (place.count != 0u) {
        master[place.home] = pack_codes(remainder_of(value, code));
    }
}

// The nearest bf16 code, ties away from zero.
fn round_away(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    return bf16_code(bits, bits + vec4<u32>(0x8000u));
}

fn remainder_of(value: vec4<f32>, code: vec4<u32>) -> vec4<u32> {
    let lower = bitcast<vec4<u32>>(value) - (code << vec4<u32>(16u));
    let is_nan = (code & vec4<u32>(0x7fffu)) > vec4<u32>(0x7f80u);
    return select(lower & vec4<u32>(0xffffu), vec4<u32>(), is_nan);
}

fn join_remainder(code: vec4<u32>, remainder: vec4<u32>) -> vec4<f32> {
    // From 16 bits to a signed number.
    let signed = bitcast<vec4<i32>>(remainder << vec4<u32>(16u)) >> vec4<u32>(16u);
    let magnitude = bitcast<vec4<i32>>((code & vec4<u32>(0x7fffu)) << vec4<u32>(16u)) + signed;
    let is_infinite = (code & vec4<u32>(0x7fffu)) == vec4<u32>(0x7f80u);
    let most = select(vec4<i32>(0x7fffffff), vec4<i32>(0x7f800000), is_infinite);
    let sign = (code & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    return bitcast<vec4<f32>>(sign | bitcast<vec4<u32>>(clamp(magnitude, vec4<i32>(), most)));
}
