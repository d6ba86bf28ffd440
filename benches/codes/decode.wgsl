// Codes to values. A candidate declares
//
//   prepare(lane)     once for each lane, in uniform control flow: may use barriers
//   decode(codes)     four values of the book
//
// `table` has the book.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    prepare(lane);
    let place = place_of(workgroup.x, lane);
    let absmax = absmaxes[place.block];
    let first = codes[place.first];
    let second = codes[place.second];
    values[place.first] = decode(unpacked(first)) * absmax;
    values[place.second] = decode(unpacked(second)) * absmax;
}

fn unpacked(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}
