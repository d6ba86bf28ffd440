// Embedding: what the first block gets.
//
//   x[row] <- wte[token] + wpe[t]     row = sequence * LENGTH + t, token = tokens[order[batch.start + sequence] + t]
//
// One lane for four consecutive elements.
//
// Bindings (group 0):
//   0 batch    which part of the order is the batch
//   1 order    where the sequence of each place begins
//   2 tokens   the text
//   3 wte      [classes, WORDS words]; the optimizer's parameter
//   4 wpe      [LENGTH, WORDS words]; the optimizer's parameter
//   5 x        [rows, WORDS words] (out)
//
// Joined with a codec of the parameters, which says what a word of four is.

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read> wte: array<ParamWord>;
@group(0) @binding(4) var<storage, read> wpe: array<ParamWord>;
@group(0) @binding(5) var<storage, read_write> x: array<vec4<f32>>;

override LENGTH: u32;
override WORDS: u32;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let word = id.x;
    let row = id.y;
    if (word >= WORDS || row >= batch.rows * LENGTH) {
        return;
    }
    let t = row % LENGTH;
    let token = tokens[order[batch.start + row / LENGTH] + t];
    x[row * WORDS + word] = decode_param(wte[token * WORDS + word]) + decode_param(wpe[t * WORDS + word]);
}
