// Gather: adds up what a rule wanted summed over many tensors, and lets it decide by that.
//
//   sum            <- sum over all tensors that take this step, of a group or of all groups of the rule
//   kept.joint    <- keep_joint(sum, kept.joint, hyper), if there are any
//   record.scalars <- decide(sum, record.scalars, kept, hyper), for each of them
//
// A workgroup for each sum; a dispatch for each rule whose sums go over more than a tensor. The order of sums is
// that of control/finish.wgsl.
//
// Joined with: a rule (StepHyper, Scalars, keep_joint, decide), and all that it is joined with in an update;
// structs/{tensor,placement,group,kept}.wgsl.
//
// Bindings (group 0):
//   0 groups       constants of each group
//   1 placements   what is known of each tensor once and for all
//   2 sums         of each tensor, in the place of its first tile: from control/finish.wgsl
//   3 tensors      the records (in and out)
//   4 kept         the scalars that rules keep (in and out)

@group(0) @binding(0) var<storage, read> groups: array<Group>;
@group(0) @binding(1) var<storage, read> placements: array<Placement>;
@group(0) @binding(2) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> tensors: array<Tensor>;
@group(0) @binding(4) var<storage, read_write> kept_scalars: array<vec4<f32>>;

override ROW_WORKGROUPS: u32 = 32768u;
override WORKGROUP_SIZE: u32 = 256u;
// The rule is that of this group; if sums go over groups, each has its own workgroup, which skips other rules'.
override GROUP: u32 = 0u;
override PER_GROUP: bool = false;

const COLUMNS: u32 = 256u;
const RUN: u32 = 16u;

var<workgroup> of_columns: array<vec4<f32>, 256>;
var<workgroup> of_runs: array<vec4<f32>, 16>;
var<workgroup> stepped: array<u32, 256>;
var<workgroup> total: vec4<f32>;
var<workgroup> joint: vec4<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
    let number = select(GROUP, workgroup, PER_GROUP);
    if (groups[number].family != groups[GROUP].family) {
        return;
    }
    let place = groups[number].joint;
    let first = arrayLength(&placements);
    for (var column = lane; column < COLUMNS; column += WORKGROUP_SIZE) {
        var sum = vec4<f32>();
        var any = 0u;
        for (var index = column; index < first; index += COLUMNS) {
            if (is_of(index, place)) {
                sum += sums[placements[index].first_sum];
                any = 1u;
            }
        }
        of_columns[column] = sum;
        stepped[column] = any;
    }
    workgroupBarrier();
    if (lane < COLUMNS / RUN) {
        var of_run = vec4<f32>();
        var any = 0u;
        for (var i = 0u; i < RUN; i++) {
            of_run += of_columns[lane * RUN + i];
            any |= stepped[lane * RUN + i];
        }
        of_runs[lane] = of_run;
        stepped[lane * RUN] = any;
    }
    workgroupBarrier();
    if (lane == 0u) {
        var all = vec4<f32>();
        var any = 0u;
        for (var i = 0u; i < COLUMNS / RUN; i++) {
            all += of_runs[i];
            any |= stepped[i * RUN];
        }
        total = all;
        joint = kept_scalars[first + place];
        if (any != 0u) {
            joint = keep_joint(all, joint, groups[number].step_hyper);
            kept_scalars[first + place] = joint;
        }
    }
    workgroupBarrier();
    for (var index = lane; index < first; index += WORKGROUP_SIZE) {
        if (is_of(index, place)) {
            let kept = Kept(kept_scalars[index], joint);
            let hyper = groups[placements[index].group].step_hyper;
            tensors[index].scalars = decide(total, tensors[index].scalars, kept, hyper);
        }
    }
}

// Whether a tensor has elements, takes this step, and has its joint scalars there.
fn is_of(index: u32, place: u32) -> bool {
    let placement = placements[index];
    let is_empty = placement.len_vec4 + placement.tail_elems == 0u;
    return groups[placement.group].joint == place && tensors[index].step != 0u && !is_empty;
}
