// A product of two f32 matrices.
//
// Bindings (group 0): 1 a, 2 b, 3 c (out).

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

fn load_a(word: u32) -> vec4<f32> {
    return a[word];
}

fn load_b(word: u32) -> vec4<f32> {
    return b[word];
}

fn store(word: u32, column: u32, value: vec4<f32>) {
    c[word] = value;
}
