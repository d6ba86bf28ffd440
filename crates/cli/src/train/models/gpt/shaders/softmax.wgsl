// Causal softmax: how much each position attends to those before it and to itself.
//
//   p[t, s] <- exp(p[t, s] - m) / sum over s' <= t of exp(p[t, s'] - m)   if s <= t,   m = max over s' <= t of p[t, s']
//              0                                                           else
//
// One lane for each row.
//
// Bindings (group 0):
//   0 p   [heads of all sequences, LENGTH, LENGTH] (in and out)

@group(0) @binding(0) var<storage, read_write> p: array<f32>;

override LENGTH: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * LENGTH;
    if (first >= arrayLength(&p)) {
        return;
    }
    let t = id.x % LENGTH;
    var largest = p[first];
    for (var s = 1u; s <= t; s++) {
        largest = max(largest, p[first + s]);
    }
    var sum = 0.0;
    for (var s = 0u; s <= t; s++) {
        let e = exp(p[first + s] - largest);
        p[first + s] = e;
        sum += e;
    }
    for (var s = 0u; s < LENGTH; s++) {
        p[first + s] = select(0.0, p[first + s] / sum, s <= t);
    }
}
