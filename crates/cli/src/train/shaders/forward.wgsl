// Forward: a linear layer, and the rectifier unless it is the last.
//
//   output[row, o] <- relu(bias[o] + sum over i of input[row, i] * weight[o, i])
//
// One lane for each element of the output.
//
// Bindings (group 0):
//   0 batch    how many rows there are
//   1 input    [rows, IN]
//   2 weight   [OUT, IN], as torch.nn.Linear keeps it; the optimizer's parameter
//   3 bias     [OUT]; the optimizer's parameter
//   4 output   [rows, OUT] (out)
//
// Invariants: IN is a multiple of 4. The sum is taken in a fixed order.

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

override IN: u32;
override OUT: u32;
override RELU: bool = true;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let o = id.x;
    let row = id.y;
    if (o >= OUT || row >= batch.rows) {
        return;
    }
    let words = IN / 4u;
    var sum = vec4<f32>();
    for (var word = 0u; word < words; word++) {
        sum += input[row * words + word] * weight[o * words + word];
    }
    let linear = bias[o] + ((sum.x + sum.y) + (sum.z + sum.w));
    output[row * OUT + o] = select(linear, max(linear, 0.0), RELU);
}
