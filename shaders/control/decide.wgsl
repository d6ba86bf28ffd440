// Decide: one workgroup turns exact sums of squares into norms, clip factors, whether the step is skipped,
// and the next loss scale.
//
//   norm        <- sqrt(total) /             loss scale * grad_factor     of all, and of each group
//   clip_factor <- min(1, max_norm / (norm + 1e-6))                         torch's clip_grad_norm_
//   skipped     <- a gradient, or the norm of all, is not finite            with SKIP_NON_FINITE
//               or a group's largest |g|, unscaled and clipped, reaches the bound of its rule
//
//   not_finite  <- the first tensor with a gradient that is not finite, in the order in which they were given
//   first       <- such a tensor and its step: kept until a report of it has been handed out, whatever comes then
//
//   if some step since the last update overflowed:
//       scale   <- max(scale * backoff_factor, min_scale);  growth_tracker <- 0
//   else growth_tracker <- growth_tracker + 1, and at growth_interval
//       scale   <- scale * growth_factor;                   growth_tracker <- 0
//
// (torch.amp.GradScaler, with a smallest scale and with >= for the interval; Micikevicius et al. 2018,
// "Mixed Precision Training", section 3.2. The scale grows no further than 2^126, whose reciprocal is
// still a normal number.)
//
// What is not finite counts as that: a NaN before an infinity.
//
// The largest |g| is known by its exponent. So a factor that is no power of two may count a step as
// beyond the bound from half the bound on. Such a step says nothing about the loss scale.
//
// A norm that is not finite, in a step that is not skipped, gives torch's factors: 0 for infinity,
// NaN for NaN.
//
// Joined with: structs/{step_input,span,total,loss_scale,decision}.wgsl, functions/norm.wgsl.
//
// Bindings (group 0):
//   0 step_input   what this step brings
//   1 spans        the limits of all tensors, then those of each group
//   2 totals       of each group: from control/total.wgsl, or added up outside
//   3 loss_scale   (in and out)
//   4 decision     (out)
//   5 history      the last HISTORY_LEN decisions, for reports (out)
//   6 measured     totals of each group that control/total.wgsl left: which tensor is not finite, they alone tell

@group(0) @binding(0) var<storage, read> step_input: StepInput;
@group(0) @binding(1) var<storage, read> spans: array<Span>;
@group(0) @binding(2) var<storage, read> totals: array<Total>;
@group(0) @binding(3) var<storage, read_write> loss_scale: LossScale;
@group(0) @binding(4) var<storage, read_write> decision: Decision;
@group(0) @binding(5) var<storage, read_write> history: array<u32>;
@group(0) @binding(6) var<storage, read> measured: array<Total>;

// At least as many lanes as limbs.
override WORKGROUP_SIZE: u32 = 64u;
override SKIP_NON_FINITE: bool = false;

const HISTORY_LEN: u32 = 64u;
// Words of a decision before its norms.
const HEAD_LEN: u32 = 8u;
const MAX_F32: f32 = 0x1.fffffep+127;

// The sum of all groups, its norm, and whether a group's gradients are too large.
var<workgroup> sum: array<u32, LIMBS>;
var<workgroup> global_factor: f32;
var<workgroup> norm_of_all: u32;
var<workgroup> is_beyond: atomic<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    let groups = arrayLength(&spans) - 1u;
    if (lane < LIMBS) {
        var limb = 0u;
        for (var g = 0u; g < groups; g++) {
            limb += totals[g].limbs[lane];
        }
        sum[lane] = limb;
    }
    if (lane == 0u) {
        atomicStore(&is_beyond, 0u);
    }
    workgroupBarrier();
    if (lane == 0u) {
        var all = Total();
        var not_finite = NO_TENSOR;
        var above = 0u;
        for (var i = 0u; i < LIMBS; i++) {
            let limb = sum[i] + above;
            all.limbs[i] = limb & 0xffffu;
            above = limb >> 16u;
        }
        for (var g = 0u; g < groups; g++) {
            all.infinite |= totals[g].infinite;
            all.not_a_number |= totals[g].not_a_number;
            not_finite = min(not_finite, measured[g].not_finite);
        }
        decision.not_finite = not_finite;
        norm_of_all = norm_of(all, loss_scale.reciprocal, step_input.grad_factor);
        global_factor = clip_factor(norm_of_all, spans[0].max_norm);
        decision.norms[0] = Norm(bitcast<f32>(norm_of_all), global_factor);
    }
    workgroupBarrier();
    for (var g = lane; g < groups; g += WORKGROUP_SIZE) {
        let total = totals[g];
        let span = spans[g + 1u];
        let norm = norm_of(total, loss_scale.reciprocal, step_input.grad_factor);
        var factor = global_factor;
        if (span.own != 0u) {
            factor = clip_factor(norm, span.max_norm);
        }
        if (reaches(total.largest, factor, span.bound_exponent)) {
            atomicStore(&is_beyond, 1u);
        }
        decision.norms[g + 1u] = Norm(bitcast<f32>(norm), factor);
    }
    storageBarrier();
    workgroupBarrier();
    if (lane == 0u) {
        begin_step(norm_of_all, atomicLoad(&is_beyond) != 0u);
        remember();
        update_scale();
    }
}

fn clip_factor(norm: u32, max_norm: f32) -> f32 {
    if (max_norm >= MAX_F32) {
        return 1.0;
    }
    if (norm >= 0x7f800000u) {
        // NaN of NaN, and 0 of infinity.
        return bitcast<f32>(select(0u, norm, norm > 0x7f800000u));
    }
    let padded = bitcast<f32>(norm) + 1e-6;
    if (padded <= max_norm) {
        return 1.0;
    }
    return max_norm / padded;
}

// Whether a magnitude of this exponent, times the factors of the step, may be 2^bound or more.
fn reaches(largest_exponent: u32, factor: f32, bound: i32) -> bool {
    // Of the largest exponents control/measure.wgsl reports one.
    let exponent = i32(select(largest_exponent, 254u, largest_exponent >= 252u)) - 127;
    let mantissa = mantissa_of(loss_scale.reciprocal)
        * mantissa_of(step_input.grad_factor)
        * mantissa_of(factor);
    let product = exponent
        + exponent_of(loss_scale.reciprocal)
        + exponent_of(step_input.grad_factor)
        + exponent_of(factor)
        + exponent_of(mantissa);
    let is_power_of_two = (bitcast<u32>(mantissa) & 0x7fffffu) == 0u;
    return product + select(1, 0, is_power_of_two) >= bound;
}

// What is known once all gradients are looked at.
fn begin_step(norm: u32, is_beyond: bool) {
    let overflow = norm >= 0x7f800000u;
    let reason = select(select(0u, BEYOND_BOUND, is_beyond), NOT_FINITE, overflow);
    decision.step += 1u;
    decision.skipped = select(0u, reason, SKIP_NON_FINITE);
    decision.skipped_total += select(0u, 1u, decision.skipped != 0u);
    decision.loss_scale = loss_scale.scale;
    decision.unscale = loss_scale.reciprocal;
    loss_scale.found_inf |= select(0u, 1u, overflow);
    // Behind what has been told, what comes next is the first.
    if (decision.first_step <= step_input.reported) {
        decision.first_step = 0u;
    }
    if (decision.first_step == 0u && decision.not_finite != NO_TENSOR) {
        decision.first_step = decision.step;
        decision.first_tensor = decision.not_finite;
    }
}

// Writes the decision to its place in the history.
fn remember() {
    let norms = arrayLength(&spans);
    let at = ((decision.step - 1u) % HISTORY_LEN) * (HEAD_LEN + 2u * norms);
    history[at] = decision.step;
    history[at + 1u] = decision.skipped;
    history[at + 2u] = decision.skipped_total;
    history[at + 3u] = bitcast<u32>(decision.loss_scale);
    history[at + 5u] = decision.not_finite;
    history[at + 6u] = decision.first_step;
    history[at + 7u] = decision.first_tensor;
    for (var s = 0u; s < norms; s++) {
        history[at + HEAD_LEN + 2u * s] = bitcast<u32>(decision.norms[s].norm);
        history[at + HEAD_LEN + 2u * s + 1u] = bitcast<u32>(decision.norms[s].clip_factor);
    }
}

fn update_scale() {
    if (step_input.keep_loss_scale != 0u || loss_scale.growth_interval == 0u) {
        return;
    }
    if (loss_scale.found_inf != 0u) {
        set_scale(max(loss_scale.scale * loss_scale.backoff_factor, loss_scale.min_scale));
    } else {
        loss_scale.growth_tracker += 1u;
        if (loss_scale.growth_tracker >= loss_scale.growth_interval) {
            let grows = loss_scale.scale <= 0x1p+126 / loss_scale.growth_factor;
            let grown = loss_scale.scale * select(1.0, loss_scale.growth_factor, grows);
            set_scale(min(grown, 0x1p+126));
        }
    }
    loss_scale.found_inf = 0u;
}

fn set_scale(scale: f32) {
    let bits = bitcast<u32>(scale);
    loss_scale.scale = scale;
    // A division may be off by some ULP, which would make unscaling inexact.
    let exact = bitcast<f32>((254u - (bits >> 23u)) << 23u);
    loss_scale.reciprocal = select(1.0 / scale, exact, (bits & 0x7fffffu) == 0u);
    loss_scale.growth_tracker = 0u;
}
