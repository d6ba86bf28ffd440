// Copy: how fast memory is for a kernel that reads one buffer and writes another.
//
//   destination[i] = source[i]
//
// Bindings (group 0): 0 source, 1 destination. Both have the same length.
//
// Invariants: one vec4 for each lane; lanes behind the end write nothing.

override WORKGROUP_SIZE: u32 = 256u;
override ROW_WORKGROUPS: u32 = 32768u;

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * WORKGROUP_SIZE + lane;
    if (index < arrayLength(&destination)) {
        destination[index] = source[index];
    }
}
