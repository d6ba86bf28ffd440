// The largest magnitudes among groups of 32 lanes: those of a tile, or half of them with one vec4 a lane.
//
// Joined with: a block that all of them share (Maxima, a lane's magnitudes for two slots. For pairs of slots
// and not for four, since llvmpipe pays for each component that is loaded).

struct BothMaxima {
    first: Maxima,
    others: Maxima,
}

// Of each lane, and of each eighth lane of a group together, for up to 128 lanes: the first two slots
// and, behind those of all lanes, the others. By group, eighth and lane of the eighth: an index that is a
// constant needs no address and no check of its own, which are three instructions each.
var<workgroup> lane_max: array<array<array<Maxima, 4>, 8>, 8>;
var<workgroup> part_max: array<array<Maxima, 4>, 8>;

// 32 lanes, then 4, then 1: two barriers for all slots.
fn largest_of_lanes(lane: u32, first: Maxima, others: Maxima) -> BothMaxima {
    let group = lane / 32u;
    let eighth = lane % 32u / 4u;
    lane_max[group][eighth][lane % 4u] = first;
    if (SLOTS > 2u) {
        lane_max[4u + group][eighth][lane % 4u] = others;
    }
    workgroupBarrier();
    if (lane < WORKGROUP_SIZE / 8u) {
        // Neighbouring lanes look at neighbours.
        part_max[lane / 4u][lane % 4u] = max_of_lanes(lane / 4u, lane % 4u);
        if (SLOTS > 2u) {
            part_max[4u + lane / 4u][lane % 4u] = max_of_lanes(4u + lane / 4u, lane % 4u);
        }
    }
    workgroupBarrier();
    return largest_of_group(group);
}

// Of any group, as soon as these barriers are passed.
fn largest_of_group(group: u32) -> BothMaxima {
    // Not `BothMaxima(…, Maxima())`: naga 30's HLSL names the zero value of an alias and that of its type
    // alike, and defines both.
    var largest: BothMaxima;
    largest.first = max_of_parts(group);
    if (SLOTS > 2u) {
        largest.others = max_of_parts(4u + group);
    }
    return largest;
}

fn max_of_lanes(group: u32, lane: u32) -> Maxima {
    var largest = lane_max[group][0][lane];
    for (var eighth = 1u; eighth < 8u; eighth++) {
        largest = max(largest, lane_max[group][eighth][lane]);
    }
    return largest;
}

fn max_of_parts(group: u32) -> Maxima {
    let first = max(part_max[group][0], part_max[group][1]);
    return max(first, max(part_max[group][2], part_max[group][3]));
}
