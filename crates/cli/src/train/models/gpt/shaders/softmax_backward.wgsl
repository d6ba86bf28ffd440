// Causal softmax, backward.
//
//   grad[t, s] <- p[t, s] * (grad[t, s] - sum over s' of p[t, s'] * grad[t, s'])
//
// One lane for each row.
//
// Bindings (group 0):
//   0 p      [heads of all sequences, LENGTH, LENGTH]: what softmax put out, 0 for s > t
//   1 grad   as p (in and out)

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;

override LENGTH: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * LENGTH;
    if (first >= arrayLength(&p)) {
        return;
    }
    let t = id.x % LENGTH;
    var sum = 0.0;
    for (var s = 0u; s <= t; s++) {
        sum += p[first + s] * grad[first + s];
    }
    for (var s = 0u; s < LENGTH; s++) {
        grad[first + s] = select(0.0, p[first + s] * (grad[first + s] - sum), s <= t);
    }
}
