// What becomes of any rule's direction before the parameter follows it: caution (Liang et al. 2024, "Cautious
// Optimizers: Improving Training with One Line of Code"; form of timm 1.0), a limit to its root mean square
// (Shazeer and Stern 2018, "Adafactor", section 6).
//
//   k         <- 1 where direction and gradient have the same sign, else 0; mean over the tensor     with CAUTION
//   direction <- direction * k / max(mean(k), 0.001)
//   direction <- direction / max(1, RMS(direction) / limit)       RMS over the tensor                with CLIP_UPDATE
//
// Signs, and not the product, which may vanish. A direction that is not a number is left out of the mean and of the
// limit, and stays one.
//
// Sums: z of k, w of (k * direction)^2. control/finish.wgsl makes one factor of them, `tensor.direction_scale`.

override CAUTION: bool = false;
override CLIP_UPDATE: bool = false;

// Elements of which the parameter follows the direction.
fn agreeing(direction: vec4<f32>, grad: vec4<f32>) -> vec4<f32> {
    if (CAUTION) {
        return select(vec4<f32>(), vec4<f32>(1.0), sign(direction) * sign(grad) > vec4<f32>());
    }
    return vec4<f32>(1.0);
}

fn steered(direction: vec4<f32>, grad: vec4<f32>, tensor: Tensor) -> vec4<f32> {
    return direction * (agreeing(direction, grad) * tensor.direction_scale);
}

fn direction_scale(sum: vec4<f32>, count: f32, limit: f32) -> f32 {
    let elems = max(count, 1.0);
    var scale = 1.0;
    if (CAUTION) {
        scale = 1.0 / max(sum.z / elems, 0.001);
    }
    if (CLIP_UPDATE) {
        // By its bits, as a compiler may assume that numbers are finite.
        let bits = bitcast<u32>(sum.w);
        if (bits == 0x7f800000u) {
            return 0.0;
        }
        let rms = sqrt(sum.w / elems);
        if (bits < 0x7f800000u && scale * rms > limit) {
            scale = limit / rms;
        }
    }
    return scale;
}
