// What schedule-free rules know of their steps: the learning rate, and how the average goes on (Defazio et al. 2024,
// "The Road Less Scheduled"; as schedulefree has it). k counts from 1.
//
//   lr_k       = lr * min(1, k / warmup_steps)
//   lr_max    <- max(lr_max, lr_k)
//   weight     = k^r * lr_max^power
//   weight_sum <- weight_sum + weight
//   c          = weight / weight_sum, 0 where both are
//
// kept.tensor: k, lr_max, weight_sum, weight_sum_rest. The sum is in two parts, since after 2^24 steps what one f32
// rounds away is no longer small: the first is a whole number of 2^-22 of itself (about), and the second is less than
// that. So the first is exact, and the second has the error of one addition of a weight, which is what c may have.

struct ScheduleFree {
    warmup_steps: f32,
    r_hi: f32,
    r_lo: f32,
    power_hi: f32,
    power_lo: f32,
}

fn scheduled_lr(k: f32, lr: f32, schedule: ScheduleFree) -> f32 {
    return select(lr, lr * (k / schedule.warmup_steps), k < schedule.warmup_steps);
}

fn average_part(k: f32, lr_max: f32, schedule: ScheduleFree) -> f32 {
    if (lr_max == 0.0 && schedule.power_hi != 0.0) {
        return 0.0;
    }
    let of_lr = power(lr_max, schedule.power_hi, schedule.power_lo);
    return power(k, schedule.r_hi, schedule.r_lo) * select(of_lr, 1.0, schedule.power_hi == 0.0);
}

// What is kept after one more step.
fn keep_schedule(kept: vec4<f32>, lr: f32, schedule: ScheduleFree) -> vec4<f32> {
    let k = kept.x + 1.0;
    let lr_max = max(kept.y, scheduled_lr(k, lr, schedule));
    let rest = kept.w + average_part(k, lr_max, schedule);
    // 2^-22 of the sum, and one by that.
    let exponent = max(bitcast<u32>(kept.z + rest) >> 23u, 23u) - 22u;
    let grid = bitcast<f32>(exponent << 23u);
    let of_grid = bitcast<f32>((254u - exponent) << 23u);
    let whole = floor(rest * of_grid) * grid;
    return vec4<f32>(k, lr_max, kept.z + whole, rest - whole);
}

// c of the step that was counted last.
fn average_weight_of(kept: vec4<f32>, schedule: ScheduleFree) -> f32 {
    let sum = kept.z + kept.w;
    return select(average_part(kept.x, kept.y, schedule) / sum, 0.0, sum == 0.0);
}

// From y to z. (Where both are the same there is none, as infinite as they may be.)
fn way(y: vec4<f32>, z: vec4<f32>) -> vec4<f32> {
    return select(z - y, vec4<f32>(), bitcast<vec4<u32>>(y) == bitcast<vec4<u32>>(z));
}
