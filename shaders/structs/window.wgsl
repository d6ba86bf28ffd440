// Where the bindings of an arena's dispatch begin: the vec4 of the whole buffer, in every role.

struct Window {
    first_vec4: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}
