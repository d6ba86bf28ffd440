// The unfused baseline: an operation on one tensor, in place.
//
//   OP 0: out * c    OP 1: out + c    OP 2: sign(out)    OP 3: sqrt(out)
//
// Bindings (group 0): 0 the constant c, 1 out.
//
// Invariants: one vec4 for each lane; buffers are padded to whole vec4s.

override WORKGROUP_SIZE: u32 = 256u;
override ROW_WORKGROUPS: u32 = 32768u;
override OP: u32 = 0u;

struct Constant {
    @size(16) c: f32,
}

@group(0) @binding(0) var<uniform> constant: Constant;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * WORKGROUP_SIZE + lane;
    if (i >= arrayLength(&out)) {
        return;
    }
    if (OP == 0u) {
        out[i] = out[i] * constant.c;
    } else if (OP == 1u) {
        out[i] = out[i] + constant.c;
    } else if (OP == 2u) {
        out[i] = sign(out[i]);
    } else {
        out[i] = sqrt(out[i]);
    }
}
