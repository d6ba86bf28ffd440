// An update that is not monitored adds nothing up. In its place: functions/update_sums.wgsl.

fn store_update_sums(workgroup: u32, a: Place, b: Place, before_a: vec4<f32>, before_b: vec4<f32>) {}
