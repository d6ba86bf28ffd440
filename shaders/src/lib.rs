//! The WGSL sources of fallline, one constant for each file.
//!
//! A step kernel is `frame + rule + codecs + shared`, joined by [`join`]: plain concatenation, which
//! WGSL permits because the order of declarations at module scope is free. There is no preprocessor;
//! numbers and switches are `override` constants.
//!
//! | folder     | what a file holds                                                                  |
//! |------------|------------------------------------------------------------------------------------|
//! | `frames/`  | the entry point `main` and every binding; gives each lane four elements            |
//! | `rules/`   | one optimizer as a pure function, with its `Hyper` constants and `State` slots     |
//! | `codecs/`  | how a `vec4<f32>` is loaded from and stored to memory in one format, for one role  |
//! | `control/` | whole kernels that prepare a step: they run before the update in the same pass     |
//! | `probes/`  | for measurements: joined like a rule                                               |
//! | `shared/`  | functions and structs that several of these use                                    |
//!
//! What each must declare, so that any of them fit together:
//!
//! - a **rule**: `struct Hyper` (32 bytes), `struct State`,
//!   `rule(param, grad, state, tensor, hyper) -> Updated`, `load_state(at) -> State`,
//!   `store_state(at, state, count)`; it reaches its slots through `load_slot0` … `store_slot2`;
//! - a **codec**: the alias of its word (`ParamWord`, `GradWord` or `SlotWord`) and its load and
//!   store functions; `count` is how many of the four elements exist, 0 for a lane without work;
//! - a **frame**: the bindings `param`, `grad`, `slot0` … `slot2` with these words.
//!
//! Structs are padded by fields, never by `@size` or `@align`: naga's GLSL does not know these.

/// A WGSL source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The path below `shaders/`, without the extension: `rules/adamw`.
    pub path: &'static str,
    /// The text of the file.
    pub text: &'static str,
}

/// Concatenates sources into one module. The first keeps its line numbers.
#[must_use]
pub fn join(sources: &[Source]) -> String {
    let mut module = String::with_capacity(sources.iter().map(|s| s.text.len() + 1).sum());
    for source in sources {
        module.push_str(source.text);
        module.push('\n');
    }
    module
}

/// Entry points of the update.
pub mod frames {
    use super::Source;

    /// Every role lies at the same element index: the engine owns the buffers.
    pub const ARENA: Source =
        Source { path: "frames/arena", text: include_str!("../frames/arena.wgsl") };
    /// Parameters and gradients lie in the caller's buffers.
    pub const BORROWED: Source =
        Source { path: "frames/borrowed", text: include_str!("../frames/borrowed.wgsl") };
}

/// Optimizers, in order of complexity.
pub mod rules {
    use super::Source;

    /// SGD with momentum, dampening, Nesterov.
    pub const SGD: Source = Source { path: "rules/sgd", text: include_str!("../rules/sgd.wgsl") };
    /// Lion.
    pub const LION: Source =
        Source { path: "rules/lion", text: include_str!("../rules/lion.wgsl") };
    /// Adam with L2 regularization.
    pub const ADAM: Source =
        Source { path: "rules/adam", text: include_str!("../rules/adam.wgsl") };
    /// Adam with decoupled weight decay.
    pub const ADAMW: Source =
        Source { path: "rules/adamw", text: include_str!("../rules/adamw.wgsl") };

    /// All rules.
    pub const ALL: [Source; 4] = [SGD, LION, ADAM, ADAMW];
}

/// Formats in memory.
pub mod codecs {
    use super::Source;

    /// f32 parameters, four to a word.
    pub const PARAM_F32: Source =
        Source { path: "codecs/param_f32", text: include_str!("../codecs/param_f32.wgsl") };
    /// f32 parameters, one to a word.
    pub const PARAM_F32_SCALAR: Source = Source {
        path: "codecs/param_f32_scalar",
        text: include_str!("../codecs/param_f32_scalar.wgsl"),
    };
    /// f32 gradients, four to a word.
    pub const GRAD_F32: Source =
        Source { path: "codecs/grad_f32", text: include_str!("../codecs/grad_f32.wgsl") };
    /// f32 gradients, one to a word.
    pub const GRAD_F32_SCALAR: Source = Source {
        path: "codecs/grad_f32_scalar",
        text: include_str!("../codecs/grad_f32_scalar.wgsl"),
    };
    /// Gradients in the parameters' buffer and format.
    pub const GRAD_SHARED: Source =
        Source { path: "codecs/grad_shared", text: include_str!("../codecs/grad_shared.wgsl") };
    /// f32 state, four elements to a word.
    pub const STATE_F32: Source =
        Source { path: "codecs/state_f32", text: include_str!("../codecs/state_f32.wgsl") };
}

/// Kernels that prepare a step.
pub mod control {
    use super::Source;

    /// Counts each tensor's step and derives its scalars.
    pub const ADVANCE: Source =
        Source { path: "control/advance", text: include_str!("../control/advance.wgsl") };
}

/// Kernels for measurements.
pub mod probes {
    use super::Source;

    /// Moves what a rule moves, and computes nothing.
    pub const TRAFFIC: Source =
        Source { path: "probes/traffic", text: include_str!("../probes/traffic.wgsl") };
}

/// Functions and structs that several files use.
pub mod shared {
    use super::Source;

    /// `e^x - 1` for `x <= 0`.
    pub const EXPM1: Source =
        Source { path: "shared/expm1", text: include_str!("../shared/expm1.wgsl") };
    /// The rule's constants.
    pub const HYPER: Source =
        Source { path: "shared/hyper", text: include_str!("../shared/hyper.wgsl") };
    /// `torch.lerp`.
    pub const LERP: Source =
        Source { path: "shared/lerp", text: include_str!("../shared/lerp.wgsl") };
    /// The record of a tensor.
    pub const TENSOR: Source =
        Source { path: "shared/tensor", text: include_str!("../shared/tensor.wgsl") };
    /// What a rule gives back.
    pub const UPDATED: Source =
        Source { path: "shared/updated", text: include_str!("../shared/updated.wgsl") };
    /// The records in a uniform buffer.
    pub const TENSORS_UNIFORM: Source = Source {
        path: "shared/tensors_uniform",
        text: include_str!("../shared/tensors_uniform.wgsl"),
    };
    /// The records in a storage buffer.
    pub const TENSORS_STORAGE: Source = Source {
        path: "shared/tensors_storage",
        text: include_str!("../shared/tensors_storage.wgsl"),
    };
}
