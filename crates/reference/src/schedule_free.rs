//! Twin of `shaders/functions/schedule_free.wgsl`, and its oracle.

use crate::{
    functions::{power, split_exponent},
    rules::Scalars,
};

/// What schedule-free rules keep for each tensor, also in steps in which it has no gradient.
pub(crate) const KEPT: &[&str] = &["k", "lr_max", "weight_sum", "weight_sum_rest"];

/// How the learning rate and the weights of the average go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) warmup_steps: u32,
    pub(crate) r: f64,
    pub(crate) weight_lr_power: f64,
}

impl Schedule {
    /// The learning rate and c of one more step.
    pub(crate) fn next(self, lr: f32, kept: &mut Scalars<f32>) -> [f32; 2] {
        let [k, lr_max, sum, sum_rest] = kept;
        *k += 1.0;
        let warmup_steps = self.warmup_steps as f32;
        let lr = if *k < warmup_steps { lr * (*k / warmup_steps) } else { lr };
        *lr_max = lr_max.max(lr);
        let weight = self.weight(*k, *lr_max);
        let rest = *sum_rest + weight;
        let exponent = ((*sum + rest).to_bits() >> 23).max(23) - 22;
        let (grid, of_grid) =
            (f32::from_bits(exponent << 23), f32::from_bits((254 - exponent) << 23));
        let whole = (rest * of_grid).floor() * grid;
        (*sum, *sum_rest) = (*sum + whole, rest - whole);
        let total = *sum + *sum_rest;
        [lr, if total == 0.0 { 0.0 } else { weight / total }]
    }

    fn weight(self, k: f32, lr_max: f32) -> f32 {
        let of_lr = match (lr_max == 0.0, self.weight_lr_power == 0.0) {
            (_, true) => 1.0,
            (true, false) => return 0.0,
            (false, false) => power(lr_max, split_exponent(self.weight_lr_power)),
        };
        power(k, split_exponent(self.r)) * of_lr
    }

    /// The same of the oracle.
    pub(crate) fn exact_next(self, lr: f64, kept: &mut Scalars<f64>) -> [f64; 2] {
        let [k, lr_max, sum, sum_rest] = kept;
        *k += 1.0;
        let lr = lr * (*k / f64::from(self.warmup_steps)).min(1.0);
        *lr_max = lr_max.max(lr);
        let weight = k.powf(self.r) * lr_max.powf(self.weight_lr_power);
        (*sum, *sum_rest) = (*sum + *sum_rest + weight, 0.0);
        [lr, if *sum == 0.0 { 0.0 } else { weight / *sum }]
    }
}

/// From y to z: none where both are the same, as infinite as they may be.
pub(crate) fn way<T: PartialEq + Default + Copy + std::ops::Sub<Output = T>>(y: T, z: T) -> T {
    if y == z { T::default() } else { z - y }
}
