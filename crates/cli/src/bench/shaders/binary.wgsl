// The unfused baseline: an operation on two tensors.
//
//   OP 4: x * c      OP 5: x * x
//   OP 6: out + x    OP 7: out - x    OP 8: out / x
//
// Bindings (group 0): 0 the constant c, 1 out, 2 x. Both tensors have the same length.
//
// Invariants: one vec4 for each lane; buffers are padded to whole vec4s. `out` is read only where
// it is an operand.

override WORKGROUP_SIZE: u32 = 256u;
override ROW_WORKGROUPS: u32 = 32768u;
override OP: u32 = 4u;

struct Constant {
    @size(16) c: f32,
}

@group(0) @binding(0) var<uniform> constant: Constant;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * WORKGROUP_SIZE + lane;
    if (i >= arrayLength(&out)) {
        return;
    }
    if (OP == 4u) {
        out[i] = x[i] * constant.c;
    } else if (OP == 5u) {
        out[i] = x[i] * x[i];
    } else if (OP == 6u) {
        out[i] = out[i] + x[i];
    } else if (OP == 7u) {
        out[i] = out[i] - x[i];
    } else {
        out[i] = out[i] / x[i];
    }
}
