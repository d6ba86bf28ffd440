// Companding for eight bits (FlashOptim, 2026, arXiv:2602.23349): see codecs/state_companded.wgsl.

// round(127 * 2 n / (1 + |n|)) in eight bits with a sign, for n in [-1, 1]; ties away from 0.
fn softsign_encode(n: vec4<f32>) -> vec4<u32> {
    let magnitude = min(abs(n), vec4<f32>(1.0));
    let code = vec4<u32>(min(floor(254.0 * magnitude / (1.0 + magnitude) + 0.5), vec4<f32>(127.0)));
    return select(code, (vec4<u32>(256u) - code) & vec4<u32>(0xffu), n < vec4<f32>());
}

fn softsign_decode(codes: vec4<u32>) -> vec4<f32> {
    let code = vec4<f32>(bitcast<vec4<i32>>(codes << vec4<u32>(24u)) >> vec4<u32>(24u));
    // y / (2 - |y|) with y = code / 127
    return code / (254.0 - abs(code));
}

// round(255 * sqrt(v) / scale), and at least 1 for v above 0.
fn square_encode(v: vec4<f32>, scale: f32) -> vec4<u32> {
    let code = min(floor(255.0 * (sqrt(v) / scale) + 0.5), vec4<f32>(255.0));
    return vec4<u32>(select(code, max(code, vec4<f32>(1.0)), v > vec4<f32>()));
}

fn square_decode(codes: vec4<u32>, scale: f32) -> vec4<f32> {
    let root = vec4<f32>(codes) * (1.0 / 255.0) * scale;
    return root * root;
}
