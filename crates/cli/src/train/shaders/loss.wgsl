// Loss: softmax, cross entropy, and its gradient; one lane for each row.
//
//   probability[c] = exp(logits[c] - m) / sum over k of exp(logits[k] - m),   m = max of logits
//   losses         <- -ln probability[label]
//   hits           <- 1 if the largest logit is the label's, else 0
//   logits_grad[c] <- (probability[c] - (1 if c is the label, else 0)) / batch.rows
//
// (The gradient is that of the mean loss of the batch.)
//
// Bindings (group 0):
//   0 batch         which part of the order is the batch
//   1 order         the epoch's permutation of the images
//   2 labels        the class of every image
//   3 logits        [rows, CLASSES]
//   4 logits_grad   [rows, CLASSES] (out)
//   5 losses, 6 hits   one for each place of the order (out): added up when the epoch is over, so
//                      that the sum has one order whatever the batch size

struct Batch {
    start: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits_grad: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;
@group(0) @binding(6) var<storage, read_write> hits: array<u32>;

override CLASSES: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= batch.rows) {
        return;
    }
    let first = row * CLASSES;
    let place = batch.start + row;
    let label = labels[order[place]];

    var largest = logits[first];
    var guess = 0u;
    for (var c = 1u; c < CLASSES; c++) {
        let logit = logits[first + c];
        if (logit > largest) {
            largest = logit;
            guess = c;
        }
    }
    var sum = 0.0;
    for (var c = 0u; c < CLASSES; c++) {
        sum += exp(logits[first + c] - largest);
    }
    for (var c = 0u; c < CLASSES; c++) {
        let probability = exp(logits[first + c] - largest) / sum;
        logits_grad[first + c] = (probability - select(0.0, 1.0, c == label)) / f32(batch.rows);
    }
    losses[place] = log(sum) - (logits[first + label] - largest);
    hits[place] = select(0u, 1u, guess == label);
}
