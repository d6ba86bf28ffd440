// The gradient of a bias, or of a layer norm's weight: sums over all rows.
//
//   sums[word] <- sum over rows of terms[row, word]
//
// A workgroup for four words: 16 lanes for each take every 16th row, and are then added up pairwise.
//
// Bindings (group 0):
//   0 terms   [rows, WORDS words]
//   1 sums    [WORDS words]; the optimizer's gradient (out)
//
// Joined with a codec of the gradients, which says what a word of four is.

@group(0) @binding(0) var<storage, read> terms: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<GradWord>;

override WORDS: u32;

const ROWS: u32 = 16u;

// [ROWS][4]
var<workgroup> partial: array<vec4<f32>, 64>;

@compute @workgroup_size(4, ROWS)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = id.x;
    var sum = vec4<f32>();
    if (word < WORDS) {
        for (var at = local.y * WORDS + word; at < arrayLength(&terms); at += ROWS * WORDS) {
            sum += terms[at];
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = ROWS / 2u; half > 0u; half /= 2u) {
        if (local.y < half) {
            partial[lane] += partial[lane + 4u * half];
        }
        workgroupBarrier();
    }
    if (local.y == 0u && word < WORDS) {
        sums[word] = encode_grad(partial[lane]);
    }
}
