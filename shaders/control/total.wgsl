// Total: adds up the partials of each group, exactly.
//
//   total[g] <- sum of the partials of group g;  the first tensor of which one is not finite
//
// As a whole number of 704 bits, so that the sum has no order and no rounding: however partials are
// distributed over dispatches, optimizers or devices, the sum of all is the same.
//
// A workgroup for each group. Integer atomics have no order either.
//
// Joined with: structs/{partial,span,total}.wgsl.
//
// Bindings (group 0):
//   0 spans      those of all first, then those of each group
//   1 partials   from control/measure.wgsl
//   2 totals     of each group (out)

@group(0) @binding(0) var<storage, read> spans: array<Span>;
@group(0) @binding(1) var<storage, read> partials: array<Partial>;
@group(0) @binding(2) var<storage, read_write> totals: array<Total>;

override ROW_WORKGROUPS: u32 = 32768u;

const LANES: u32 = 64u;
// Partials of a lane before carries are passed on: 64 lanes add less than 2^31 to a limb.
const ROUND: u32 = 128u;

var<workgroup> limbs: array<atomic<u32>, LIMBS>;
var<workgroup> largest: atomic<u32>;
var<workgroup> infinite: atomic<u32>;
var<workgroup> not_a_number: atomic<u32>;
var<workgroup> not_finite: atomic<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (group >= arrayLength(&totals)) {
        return;
    }
    if (lane < LIMBS) {
        atomicStore(&limbs[lane], 0u);
    }
    if (lane == 0u) {
        atomicStore(&largest, 0u);
        atomicStore(&infinite, 0u);
        atomicStore(&not_a_number, 0u);
        atomicStore(&not_finite, NO_TENSOR);
    }
    workgroupBarrier();
    let span = spans[group + 1u];
    for (var first = span.first; first < span.end; first += LANES * ROUND) {
        let end = min(span.end, first + LANES * ROUND);
        for (var i = first + lane; i < end; i += LANES) {
            add(partials[i]);
        }
        workgroupBarrier();
        if (lane == 0u) {
            carry();
        }
        workgroupBarrier();
    }
    if (lane < LIMBS) {
        totals[group].limbs[lane] = atomicLoad(&limbs[lane]);
    }
    if (lane == 0u) {
        totals[group].largest = atomicLoad(&largest);
        totals[group].infinite = atomicLoad(&infinite);
        totals[group].not_a_number = atomicLoad(&not_a_number);
        totals[group].not_finite = atomicLoad(&not_finite);
    }
}

fn add(partial: Partial) {
    if (partial.exponent >= INFINITE) {
        atomicMin(&not_finite, partial.exponent >> MARK_BITS);
        if ((partial.exponent & NOT_A_NUMBER) != 0u) {
            atomicAdd(&not_a_number, 1u);
        } else {
            atomicAdd(&infinite, 1u);
        }
        return;
    }
    let bits = bitcast<u32>(partial.sum);
    if (bits == 0u) {
        return;
    }
    atomicMax(&largest, partial.exponent);
    // The sum is a whole number of 24 bits times a power of two. (A sum below 2^-126 has no leading bit.)
    let exponent = max(bits >> 23u, 1u);
    let mantissa = (bits & 0x7fffffu) | select(0u, 0x800000u, bits >= 0x800000u);
    let place = exponent + 2u * partial.exponent;
    let limb = place / 16u;
    let low = (mantissa & 0xffffu) << (place % 16u);
    let high = (mantissa >> 16u) << (place % 16u);
    atomicAdd(&limbs[limb], low & 0xffffu);
    atomicAdd(&limbs[limb + 1u], (low >> 16u) + (high & 0xffffu));
    atomicAdd(&limbs[limb + 2u], high >> 16u);
}

fn carry() {
    var above = 0u;
    for (var i = 0u; i < LIMBS; i++) {
        let limb = atomicLoad(&limbs[i]) + above;
        atomicStore(&limbs[i], limb & 0xffffu);
        above = limb >> 16u;
    }
}
