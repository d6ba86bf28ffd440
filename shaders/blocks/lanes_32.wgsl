// The largest magnitudes among the 32 lanes of a frame's block.
//
// Joined with: a block that all of them share (Maxima, a lane's magnitudes for two slots. For pairs of slots
// and not for four, since llvmpipe pays for each component that is loaded).

struct BothMaxima {
    first: Maxima,
    others: Maxima,
}

// Of each lane, and of each eighth lane of a block together, for up to 128 lanes: the first two slots
// and, behind those of all lanes, the others.
var<workgroup> lane_max: array<Maxima, 256>;
var<workgroup> part_max: array<Maxima, 32>;

// 32 lanes, then 4, then 1: two barriers for all slots.
fn largest_of_lanes(lane: u32, first: Maxima, others: Maxima) -> BothMaxima {
    lane_max[lane] = first;
    if (SLOTS > 2u) {
        lane_max[128u + lane] = others;
    }
    workgroupBarrier();
    if (lane < WORKGROUP_SIZE / 8u) {
        // Neighbouring lanes look at neighbours.
        let at = lane / 4u * TILE_LANES + lane % 4u;
        part_max[lane] = max_of_lanes(at);
        if (SLOTS > 2u) {
            part_max[16u + lane] = max_of_lanes(128u + at);
        }
    }
    workgroupBarrier();
    let at = lane / TILE_LANES * 4u;
    // Not `BothMaxima(…, Maxima())`: naga 30's HLSL names the zero value of an alias and that of its type
    // alike, and defines both.
    var largest: BothMaxima;
    largest.first = max_of_parts(at);
    if (SLOTS > 2u) {
        largest.others = max_of_parts(16u + at);
    }
    return largest;
}

fn max_of_lanes(at: u32) -> Maxima {
    var largest = lane_max[at];
    for (var i = 4u; i < TILE_LANES; i += 4u) {
        largest = max(largest, lane_max[at + i]);
    }
    return largest;
}

fn max_of_parts(at: u32) -> Maxima {
    return max(max(part_max[at], part_max[at + 1u]), max(part_max[at + 2u], part_max[at + 3u]));
}
