// Random bits as a function of a counter: pcg4d (Jarzynski and Olano 2020, "Hash Functions for GPU
// Rendering", JCGT 9(3), listing 4). 128 bits in, 128 bits out; of
// each word the lowest few are uneven.

fn noise(counter: vec4<u32>) -> vec4<u32> {
    var v = counter * vec4<u32>(1664525u) + vec4<u32>(1013904223u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
