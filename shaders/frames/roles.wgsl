// What every frame binds, beside its tables: parameter, gradient, state, what is kept beside the parameter, and
// the rule's constants. state or a master copy that is not kept is bound to a dummy.
//
// Bindings (group 0):
//   2 param, 3 grad
//   4 state     all slots: of each tile one slot behind the other
//   5 master    master copy or remainder of the parameter
//   6 hypers    constants: tables/hyper.wgsl

// Lanes of a workgroup; a multiple of 64.
override WORKGROUP_SIZE: u32 = 128u;
// vec4s of a lane of an update: 2, or 1 for GPUs with few registers. A tile has 64.
override LANE_VEC4S: u32 = 2u;

@group(0) @binding(2) var<storage, read_write> param: array<ParamWord>;
@group(0) @binding(3) var<storage, read_write> grad: array<GradWord>;
@group(0) @binding(4) var<storage, read_write> state: array<StateWord>;
@group(0) @binding(5) var<storage, read_write> master: array<MasterWord>;
@group(0) @binding(6) var<uniform> hypers: Hypers;

// How many elements of a lane's second vec4 exist. With one vec4 a lane none do: all that would come of them is not stored,
// and so not computed.
fn second_elems_at(tile: Tile, part: u32, tensor: Tensor) -> u32 {
    return select(0u, elems_at(tile, part, tensor), LANE_VEC4S == 2u);
}
