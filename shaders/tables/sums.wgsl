// What is summed over tiles: a window of the sums of a segment's tiles.
//
// Bindings, beside those of update.wgsl:
//   8 sums      of each tile, up to four (out)

@group(0) @binding(8) var<storage, read_write> sums: array<vec4<f32>>;

fn store_tile_sum(tensor_number: u32, place: Place, tensor: Tensor, sum: vec4<f32>) {
    sums[place.tile] = sum;
}
