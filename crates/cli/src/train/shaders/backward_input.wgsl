// Backward to the input: the gradient that the layer before gets, through that layer's rectifier.
//
//   input_grad[row, i] <- sum over o of output_grad[row, o] * weight[o, i]   if input[row, i] > 0,
//                         0                                                  else
//
// One lane for four consecutive elements.
//
// Bindings (group 0):
//   0 batch         how many rows there are
//   1 input         [rows, IN]: what the layer before put out
//   2 weight        [OUT, IN]; the optimizer's parameter
//   3 output_grad   [rows, OUT], before the rectifier of this layer
//   4 input_grad    [rows, IN], before the rectifier of the layer before (out)
//
// Invariants: IN is a multiple of 4. The sum is taken in a fixed order.

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> output_grad: array<f32>;
@group(0) @binding(4) var<storage, read_write> input_grad: array<vec4<f32>>;

override IN: u32;
override OUT: u32;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = IN / 4u;
    let word = id.x;
    let row = id.y;
    if (word >= words || row >= batch.rows) {
        return;
    }
    var sum = vec4<f32>();
    for (var o = 0u; o < OUT; o++) {
        sum += output_grad[row * OUT + o] * weight[o * words + word];
    }
    let at = row * words + word;
    input_grad[at] = select(vec4<f32>(), sum, input[at] > vec4<f32>());
}
