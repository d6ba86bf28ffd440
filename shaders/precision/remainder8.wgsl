// Precision: 24 bits, for a bf16 parameter, in 8 bits more. (The idea is FlashOptim's 8-bit weight
// correction, arXiv:2602.23349.)
//
//   magnitude of the value = (magnitude of the bf16 << 16) + (remainder << 8),  -128 <= remainder <= 127
//
// on the bits: the remainder of precision/remainder.wgsl without its lower half. What these 24 bits do
// not hold is rounded up or down stochastically, from seed, tensor, step and element, so that updates below the last
// bit count on the average. The bf16 is the nearest code, ties away from zero.

alias MasterWord = u32;

fn load_param(place: Place) -> vec4<f32> {
    let codes = param_codes(place.param, place.count);
    return join_remainder(codes, unpack_bytes(master[place.tile * 64u + place.part]) << vec4<u32>(8u));
}

fn store_param(place: Place, value: vec4<f32>, tensor: Tensor) {
    let random = noise(vec4<u32>(place.index, tensor.number, tensor.step, hypers.seed));
    let bits = bitcast<vec4<u32>>(value);
    let is_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let short = (bits + (random >> vec4<u32>(24u))) & vec4<u32>(0xffffff00u);
    let rounded = bitcast<vec4<f32>>(select(short, bits, is_nan));
    let code = round_away(rounded);
    set_param_codes(place.param, code, place.count);
    if (place.count != 0u) {
        master[place.tile * 64u + place.part] = pack_bytes(remainder_of(rounded, code) >> vec4<u32>(8u));
    }
}
