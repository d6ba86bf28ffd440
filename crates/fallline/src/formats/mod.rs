//! The formats of numbers, one list of each kind: what parameters, gradients and state may be kept in.

mod dtype;
mod names;
mod precision;
mod state;

pub use dtype::Dtype;
pub(crate) use names::either;
pub use precision::Precision;
pub use state::StateFormat;

/// The formats that make one kernel differ from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Formats {
    pub(crate) param: Dtype,
    pub(crate) grad: Dtype,
    pub(crate) precision: Precision,
    pub(crate) state: StateFormat,
}
