// The quotient's exponent and upper bits of its mantissa name a cell, so small that one border at most
// lies in it; the value is compared with that. The quotient need not be exact: a border at a cell's
// edge belongs to both sides. Joined with memory/{workgroup,storage,uniform}.wgsl.

// Bits of the mantissa that do not count, and the cell of the smallest quotient: 2^-22.
const SHIFT: u32 = 16u;
const FIRST_CELL: u32 = (127u - 22u) << 7u;

fn encode(value: vec4<f32>, absmax: f32) -> u32 {
    let magnitude = abs(value);
    let quotient = magnitude * select(0.0, 1.0 / absmax, absmax > 0.0);
    let cell = max(bitcast<vec4<u32>>(quotient) >> vec4<u32>(SHIFT), vec4<u32>(FIRST_CELL)) - FIRST_CELL;
    let below = vec4<u32>(cells[cell.x], cells[cell.y], cells[cell.z], cells[cell.w]);
    let is_above = magnitude >= look_up(below) * absmax;
    return packed(code_of(select(below, below + vec4<u32>(1u), is_above), value));
}
