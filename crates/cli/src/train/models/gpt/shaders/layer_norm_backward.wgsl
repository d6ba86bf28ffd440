// Layer norm, backward.
//
//   normal = (x[row] - mean) * rstd
//   g = y_grad[row] * weight
//   x_grad[row]        <- (x_grad[row] if ADDS, else 0) + rstd * (g - mean of g - normal * mean of g * normal)
//   weight_terms[row]  <- y_grad[row] * normal, whose sum over the rows is the gradient of weight
//
// (The sum of y_grad over the rows is that of bias.) One lane for each row.
//
// Bindings (group 0):
//   0 x, 1 y_grad    [rows, WORDS words]
//   2 moments        mean and rstd of each row
//   3 weight         the optimizer's parameter
//   4 x_grad         as x (out)
//   5 weight_terms   as x (out)
//
// Joined with a codec of the parameters, which says what a word of four is.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> y_grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> moments: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<ParamWord>;
@group(0) @binding(4) var<storage, read_write> x_grad: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> weight_terms: array<vec4<f32>>;

override WORDS: u32;
override ADDS: bool = true;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * WORDS;
    if (first >= arrayLength(&x)) {
        return;
    }
    let mean = moments[id.x].x;
    let rstd = moments[id.x].y;
    var sum = vec4<f32>();
    var sum_with_normal = vec4<f32>();
    for (var word = 0u; word < WORDS; word++) {
        let normal = (x[first + word] - mean) * rstd;
        let g = y_grad[first + word] * decode_param(weight[word]);
        sum += g;
        sum_with_normal += g * normal;
        weight_terms[first + word] = y_grad[first + word] * normal;
    }
    let width = f32(4u * WORDS);
    let g_mean = dot(sum, vec4<f32>(1.0)) / width;
    let g_with_normal = dot(sum_with_normal, vec4<f32>(1.0)) / width;
    for (var word = 0u; word < WORDS; word++) {
        let normal = (x[first + word] - mean) * rstd;
        let g = y_grad[first + word] * decode_param(weight[word]);
        var grad = rstd * (g - g_mean - normal * g_with_normal);
        if (ADDS) {
            grad += x_grad[first + word];
        }
        x_grad[first + word] = grad;
    }
}
