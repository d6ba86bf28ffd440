// The pieces of gradients that a dispatch sums, and a workgroup's own. The first entry is a head: first_workgroup is the
// number of all workgroups, tensor the number of entries behind it.
//
// Bindings:
//   1 pieces

@group(0) @binding(1) var<storage, read> pieces: array<Piece>;

// The number of the piece with this workgroup: the last that begins at it or before.
fn find_piece(workgroup: u32) -> u32 {
    var low = 1u;
    var high = pieces[0].tensor;
    while (low < high) {
        let middle = (low + high + 1u) / 2u;
        if (pieces[middle].first_workgroup <= workgroup) {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    return low;
}
