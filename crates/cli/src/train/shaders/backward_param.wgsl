// Backward to the parameters: the gradients of a linear layer's weight and bias.
//
//   weight_grad[o, i] <- sum over rows of output_grad[row, o] * input[row, i]
//   bias_grad[o]      <- sum over rows of output_grad[row, o]
//
// One lane for four consecutive elements of the weight's gradient.
//
// Bindings (group 0):
//   0 batch         how many rows there are
//   1 input         [rows, IN]
//   2 output_grad   [rows, OUT], before the rectifier
//   3 weight_grad   [OUT, IN]; the optimizer's gradient (out)
//   4 bias_grad     [OUT]; the optimizer's gradient (out)
//
// Invariants: IN is a multiple of 4. The sums are taken in a fixed order. Both gradients may lie in
// one buffer, which is why neither is bound for reading only.

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> output_grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_grad: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> bias_grad: array<f32>;

override IN: u32;
override OUT: u32;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = IN / 4u;
    let word = id.x;
    let o = id.y;
    if (word >= words || o >= OUT) {
        return;
    }
    var weight_sum = vec4<f32>();
    var bias_sum = 0.0;
    for (var row = 0u; row < batch.rows; row++) {
        let grad = output_grad[row * OUT + o];
        weight_sum += grad * input[row * words + word];
        bias_sum += grad;
    }
    weight_grad[o * words + word] = weight_sum;
    if (word == 0u) {
        bias_grad[o] = bias_sum;
    }
}
