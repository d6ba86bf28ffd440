// A table in workgroup memory, which the workgroup fills first.

var<workgroup> local_table: array<f32, 256>;

fn prepare(lane: u32) {
    local_table[lane] = table[lane];
    workgroupBarrier();
}

fn look_up(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(local_table[at.x], local_table[at.y], local_table[at.z], local_table[at.w]);
}
