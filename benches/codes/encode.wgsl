// Values to codes. A candidate declares
//
//   prepare(lane)             once for each lane, in uniform control flow: may use barriers
//   encode(value, absmax)     four codes, packed
//
// `table` has the border below each number from 1 on in place 0 on, ascending, filled up to 256 with 2;
// a number counts the codes of the book from 0 upwards: 0 to 128, or 255 in the unsigned book.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    prepare(lane);
    let place = place_of(workgroup.x, lane);
    let absmax = absmaxes[place.block];
    let first = values[place.first];
    let second = values[place.second];
    codes[place.first] = encode(first, absmax);
    codes[place.second] = encode(second, absmax);
}

fn packed(codes: vec4<u32>) -> u32 {
    let placed = codes << vec4<u32>(0u, 8u, 16u, 24u);
    return (placed.x | placed.y) | (placed.z | placed.w);
}

// The code of a number with the sign of a value; what is not 0 never becomes 0, but in the signed book
// a positive value may.
fn code_of(number: vec4<u32>, value: vec4<f32>) -> vec4<u32> {
    if (KIND == 1u) {
        return select(vec4<u32>(), max(number, vec4<u32>(1u)), value > vec4<f32>());
    }
    let negative = vec4<u32>(127u) - clamp(number, vec4<u32>(1u), vec4<u32>(127u));
    return select(number + vec4<u32>(127u), negative, value < vec4<f32>());
}
