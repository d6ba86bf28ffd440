// Embedding, backward: the gradients of tokens and of positions.
//
//   wte_grad[token] <- sum of x_grad[row] over the rows with this token
//   wpe_grad[t]     <- sum of x_grad[row] over the rows with this t
//
// One lane for four consecutive elements of either; it goes through all rows, since WGSL has no atomic sum of f32
// and a sum should have one order.
//
// Bindings (group 0):
//   0 batch, 1 order, 2 tokens   as in embedding.wgsl
//   3 x_grad     [rows, WORDS words]
//   4 wte_grad   [CLASSES, WORDS words]; the optimizer's gradient (out)
//   5 wpe_grad   [LENGTH, WORDS words]; the optimizer's gradient (out)
//
// Joined with a codec of the gradients, which says what a word of four is.

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read> x_grad: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> wte_grad: array<GradWord>;
@group(0) @binding(5) var<storage, read_write> wpe_grad: array<GradWord>;

override CLASSES: u32;
override LENGTH: u32;
override WORDS: u32;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let word = id.x;
    if (word >= WORDS || id.y >= CLASSES + LENGTH) {
        return;
    }
    var sum = vec4<f32>();
    if (id.y < CLASSES) {
        for (var sequence = 0u; sequence < batch.rows; sequence++) {
            let begin = order[batch.start + sequence];
            for (var t = 0u; t < LENGTH; t++) {
                if (tokens[begin + t] == id.y) {
                    sum += x_grad[(sequence * LENGTH + t) * WORDS + word];
                }
            }
        }
        wte_grad[id.y * WORDS + word] = encode_grad(sum);
    } else {
        let t = id.y - CLASSES;
        for (var sequence = 0u; sequence < batch.rows; sequence++) {
            sum += x_grad[(sequence * LENGTH + t) * WORDS + word];
        }
        wpe_grad[t * WORDS + word] = encode_grad(sum);
    }
}
