// The traffic of control/margins.wgsl: loads the gradients that it loads, one after the other, and sums nothing. For
// benchmarks; in its place.
//
// The loaded words are stored if the last step set gradients to zero, which it must not: so every load is needed.
//
// Bindings: those of control/margins.wgsl.

struct Hyper {
    words0: vec4<f32>,
    words1: vec4<f32>,
}

struct Scalars {
    padding0: vec4<f32>,
}

@group(0) @binding(2) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(3) var<storage, read> matrices: array<Matrices>;
@group(0) @binding(4) var<storage, read_write> parts: array<vec4<u32>>;
@group(0) @binding(5) var<uniform> hypers: Hypers;

override ROW_WORKGROUPS: u32 = 32768u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    if (workgroup >= pieces[0].first_workgroup) {
        return;
    }
    let number = find_piece(workgroup);
    let piece = pieces[number];
    let shape = matrices[piece.tensor];
    let tensor = load_tensor(piece.tensor);
    // Its share of the piece's vec4s.
    let last = number == pieces[0].tensor;
    let end = select(pieces[min(number + 1u, pieces[0].tensor)].first_workgroup, pieces[0].first_workgroup, last);
    let elems = min(
        elem_of(piece.first + piece.len, shape) - elem_of(piece.first, shape),
        tensor.len_vec4 * 4u,
    );
    let share = (elems / 4u + end - piece.first_workgroup - 1u) / (end - piece.first_workgroup);
    let first = (workgroup - piece.first_workgroup) * share;
    var words = vec4<u32>();
    for (var at = first + lane; at < min(first + share, elems / 4u); at += 64u) {
        words ^= grad_codes(piece.grad_vec4 + at, 4u);
    }
    if ((tensor.hyper & ZERO_GRAD) != 0u) {
        parts[lane] = words;
    }
}

fn elem_of(unit: u32, shape: Matrices) -> u32 {
    let block = unit / shape.chunks;
    let row = block / shape.blocks * shape.rows + block % shape.blocks * 64u;
    return row * shape.columns + unit % shape.chunks * 256u;
}
