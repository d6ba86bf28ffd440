// The rectification of an adaptive learning rate (Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and
// Beyond", section 4): how much smaller steps must be as long as a second moment is the average of few gradients.
//
//   rho_inf       = 2 / (1 - beta2) - 1
//   rho(t)        = rho_inf - 2 t beta2^t / (1 - beta2^t)            1 in the first step, then up to rho_inf
//   rectification = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))        for rho above 4
//
// As it is written, rho is a small difference of large numbers: with a beta2 of 0.999 in step 6, 1999 - 1994. With
// x = -ln beta2 and y = t x it is
//
//   rho = t - 2 / x (h(y) - h(x)),   h(y) = y / 2 coth(y / 2) - 1 = y^2 / 12 - y^4 / 720 + ...
//
// whose terms are small beside t where y is. Up to y = 2 the series' first omitted term is below 3e-9. From there on
// little cancels in the first form, and less and less of it is beta2^t, for which WGSL's exp will do.

fn rectified_length(t: f32, ln_beta2: f32, rho_inf: f32) -> f32 {
    let x = -ln_beta2;
    let y = t * x;
    if (y > 2.0) {
        return rho_inf - 2.0 * t * exp(-y) / bias_correction(t, ln_beta2);
    }
    return t - 2.0 * (t * y * series_of_length(y * y) - x * series_of_length(x * x));
}

// h(y) / y^2, from y^2.
fn series_of_length(y2: f32) -> f32 {
    var series = -3617.0 / 10670622842880000.0;
    series = series * y2 + 1.0 / 74724249600.0;
    series = series * y2 - 691.0 / 1307674368000.0;
    series = series * y2 + 1.0 / 47900160.0;
    series = series * y2 - 1.0 / 1209600.0;
    series = series * y2 + 1.0 / 30240.0;
    series = series * y2 - 1.0 / 720.0;
    return series * y2 + 1.0 / 12.0;
}

// From rho, and rho_inf / ((rho_inf - 4) (rho_inf - 2)), which the host has in f64.
fn rectification(rho: f32, scale: f32) -> f32 {
    return sqrt((rho - 4.0) * (rho - 2.0) / rho * scale);
}
