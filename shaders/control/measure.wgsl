// Measure: one partial for each row of 64 tiles of a tensor, for the norm and the overflow test.
//
//   partial <- (sum of grad^2 as sum * 4^(exponent - 127),  are all of them finite? if not, whose?)
//
// The squares of gradients leave the range of f32 long before the gradients do. So each lane scales
// its 32 elements of a tile by a power of two that makes the largest about 1, and sums carry the
// exponent along (a scaled sum, as LAPACK's `snrm2` takes it). Powers of two are exact: gradients
// times any of them give the same sums, under other exponents. Sums are trees in a fixed order: the
// same bits in every run, and at most 21 roundings, that is 7e-7 of the norm.
//
// Overflow is looked for in the bits, since WGSL lets a compiler assume that it does not occur.
//
// Rows are counted from the beginning of a tensor, or of the whole that it is a piece of: where its buffers
// are cut, and where it lies, changes no sum.
//
// Joined with: packing, format and codec of the gradient; structs/{partial,piece}.wgsl, tables/pieces.wgsl.
//
// Bindings (group 0):
//   0 absent       one bit for each tensor: no gradient in this step, so it counts as zero
//   1 pieces       rows of tensors; a workgroup looks for its own
//   2 grad         a window of a buffer
//   3 partials     (out)

@group(0) @binding(0) var<storage, read> absent: array<u32>;
@group(0) @binding(2) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(3) var<storage, read_write> partials: array<Partial>;

override ROW_WORKGROUPS: u32 = 32768u;

// Lanes of a tile, with eight vec4s each: neighbouring lanes own neighbouring vec4s.
const LANES: u32 = 8u;
// Tiles of each lane, one after the other. (Measured on Mesa's software driver, where barriers are
// what a workgroup costs, against a plain step of AdamW: clipping takes 0.28 to 0.30 of it with one tile for
// a lane, 0.26 to 0.28 with four, 0.23 to 0.25 with eight; more would leave a GPU too few workgroups.)
const TILES: u32 = 8u;

var<workgroup> sums: array<f32, 64>;
var<workgroup> exponents: array<u32, 64>;
var<workgroup> row_sums: array<f32, 8>;
var<workgroup> row_exponents: array<u32, 8>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    // Whole workgroups behind the end, in the last row of a folded dispatch: a uniform exit.
    if (row >= pieces[0].first_workgroup) {
        return;
    }
    let run = pieces[find_piece(row)];
    let first_tile = (row - run.first_workgroup) * LANES * TILES;
    let is_absent = ((absent[run.tensor / 32u] >> (run.tensor % 32u)) & 1u) != 0u;
    let len_elems = select(run.len, 0u, is_absent);
    var total = Partial(0.0, 2u);
    for (var i = 0u; i < TILES; i++) {
        let tile = first_tile + i * LANES + lane / LANES;
        total = add(total, measure(tile, run, len_elems, lane % LANES));
    }
    sums[lane] = total.sum;
    exponents[lane] = total.exponent;
    // 64, then 8, then 1: two barriers.
    workgroupBarrier();
    if (lane < 8u) {
        let row_total = add_eight(
            load_sums(lane * 8u),
            load_exponents(lane * 8u),
            load_sums(lane * 8u + 4u),
            load_exponents(lane * 8u + 4u),
        );
        row_sums[lane] = row_total.sum;
        row_exponents[lane] = row_total.exponent;
    }
    workgroupBarrier();
    if (lane == 0u) {
        let all = add_eight(
            vec4<f32>(row_sums[0], row_sums[1], row_sums[2], row_sums[3]),
            vec4<u32>(row_exponents[0], row_exponents[1], row_exponents[2], row_exponents[3]),
            vec4<f32>(row_sums[4], row_sums[5], row_sums[6], row_sums[7]),
            vec4<u32>(row_exponents[4], row_exponents[5], row_exponents[6], row_exponents[7]),
        );
        partials[run.first + row - run.first_workgroup] =
            Partial(all.sum, with_tensor(all.exponent, run.tensor));
    }
}

// A mark with the tensor that it is of. (What is beyond these bits is told as the last tensor that they hold.)
fn with_tensor(exponent: u32, tensor: u32) -> u32 {
    let number = min(tensor, 0xffffffffu >> MARK_BITS);
    return exponent | select(0u, number << MARK_BITS, exponent >= INFINITE);
}

// The sum of the squares of a lane's 32 elements of a tile, which is counted with the lead.
fn measure(tile: u32, run: Piece, len_elems: u32, n: u32) -> Partial {
    let exists = tile >= run.lead;
    let t = select(0u, tile - run.lead, exists);
    let behind = min(t * 256u, len_elems);
    let len = select(0u, min(len_elems - behind, 256u), exists);
    let first = run.grad_vec4 + select(0u, t * 64u, len > 0u);
    let a = load(first, len, n);
    let b = load(first, len, n + LANES);
    let c = load(first, len, n + 2u * LANES);
    let d = load(first, len, n + 3u * LANES);
    let e = load(first, len, n + 4u * LANES);
    let f = load(first, len, n + 5u * LANES);
    let g = load(first, len, n + 6u * LANES);
    let h = load(first, len, n + 7u * LANES);

    let four = max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)));
    let largest = max(max(four.x, four.y), max(four.z, four.w));
    if (largest >= 0x7f800000u) {
        return Partial(0.0, select(INFINITE, NOT_A_NUMBER, largest > 0x7f800000u));
    }
    // Within a factor of four of the true exponent, so that the scale and its inverse are normal.
    let exponent = clamp(largest >> 23u, 2u, 252u);
    let scale = bitcast<f32>((254u - exponent) << 23u);
    let sum = ((square(a, scale) + square(b, scale)) + (square(c, scale) + square(d, scale)))
        + ((square(e, scale) + square(f, scale)) + (square(g, scale) + square(h, scale)));
    return Partial(sum, exponent);
}

// The bits of the magnitudes in the tile's n-th vec4; zero where there is none. (A vec4 at a tensor's
// end, of fewer than four elements, comes in single words, which are zero behind the end.)
fn load(first: u32, len_elems: u32, n: u32) -> vec4<u32> {
    let exists = n * 4u < len_elems;
    let count = min(len_elems - min(n * 4u, len_elems), 4u);
    let value = decode_grad(grad_codes(first + select(0u, n, exists), count));
    return bitcast<vec4<u32>>(value) & vec4<u32>(select(0u, 0x7fffffffu, exists));
}

fn square(magnitude: vec4<u32>, scale: f32) -> f32 {
    let scaled = bitcast<vec4<f32>>(magnitude) * scale;
    return dot(scaled, scaled);
}

fn load_sums(at: u32) -> vec4<f32> {
    return vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
}

fn load_exponents(at: u32) -> vec4<u32> {
    return vec4<u32>(exponents[at], exponents[at + 1u], exponents[at + 2u], exponents[at + 3u]);
}

// The sum of two scaled sums, under the larger exponent.
fn add(s: Partial, t: Partial) -> Partial {
    let top = max(s.exponent, t.exponent);
    let factors = down(top, vec4<u32>(s.exponent, t.exponent, top, top));
    return Partial(s.sum * factors.x + t.sum * factors.y, top);
}

// The sum of eight.
fn add_eight(s: vec4<f32>, e: vec4<u32>, t: vec4<f32>, f: vec4<u32>) -> Partial {
    let four = max(e, f);
    let top = max(max(four.x, four.y), max(four.z, four.w));
    let terms = s * down(top, e) + t * down(top, f);
    return Partial((terms.x + terms.y) + (terms.z + terms.w), top);
}

// 4^(e - top), or 0 where that is below the range of f32.
fn down(top: u32, e: vec4<u32>) -> vec4<f32> {
    let steps = min(vec4<u32>(top) - e, vec4<u32>(63u));
    return bitcast<vec4<f32>>((vec4<u32>(127u) - vec4<u32>(2u) * steps) << vec4<u32>(23u))
        * select(vec4<f32>(1.0), vec4<f32>(), steps == vec4<u32>(63u));
}
