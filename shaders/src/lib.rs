//! The WGSL sources of fallline, one constant for each file.
//!
//! A step kernel is `frame + rule + words + codecs + precision + shared`, joined by [`join`]: plain
//! concatenation, which WGSL permits because the order of declarations at module scope is free. There
//! is no preprocessor; numbers and switches are `override` constants.
//!
//! | folder       | what a file holds                                                                |
//! |--------------|----------------------------------------------------------------------------------|
//! | `frames/`    | the entry point `main` and every binding; where a lane's eight elements lie       |
//! | `rules/`     | one optimizer as a pure function, with its `Hyper` constants and `State` slots   |
//! | `words/`     | how four codes lie in memory: their size, whose binding, whole vec4s or elements |
//! | `blocks/`    | which elements of a state slot share a scale: their largest magnitude             |
//! | `formats/`   | what a code means: f16, bf16, e4m3, the code books of 8 and 4 bits                |
//! | `codecs/`    | the format of a role: parameter, gradient, state slot                            |
//! | `precision/` | what a parameter keeps of an update that is smaller than its last bit            |
//! | `control/`   | whole kernels that run before the update in the same pass, and *accumulate*      |
//! | `probes/`    | for measurements: joined like a rule                                             |
//! | `shared/`    | functions and structs that several of these use                                  |
//!
//! What each must declare, so that any of them fit together:
//!
//! - a **rule**: `struct Hyper` (32 bytes), `struct State`,
//!   `rule(param, grad, state, tensor, hyper) -> Updated`, and which slot is what:
//!   `state_of(slots) -> State`, `slots_of(state) -> Slots`;
//! - **words** of a role: the alias of its word (`ParamWord`, `GradWord`), and
//!   `param_codes(at, count)`, `set_param_codes(at, codes, count)` or the same of `grad`; `count` is
//!   how many of the four elements exist, 0 for a lane without work;
//! - a **codec**: `decode_param(codes)` and `encode_param(value)`, or `decode_grad(codes)`; for the
//!   state either, for `words/slot_vec4`, the alias `StateWord` and the conversions of a word, or, for
//!   `words/slot_blocks`, the scale of a block, and codes from values and values from codes;
//! - **blocks**: where scales lie (`SCALE_WORDS`, `load_scales`, `store_scales`), and
//!   `largest_of_blocks(place, of_a, of_b)`, through workgroup memory;
//! - a **precision**: `MasterWord`, `load_param(place)` and `store_param(place, value, tensor)`;
//! - a **frame**: the bindings `param`, `grad`, `state`, `master` with these words.
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

    /// The entry point, whoever owns the buffers.
    pub const UPDATE: Source =
        Source { path: "frames/update", text: include_str!("../frames/update.wgsl") };
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

/// How codes lie in memory.
pub mod words {
    use super::Source;

    /// State of 16 bits.
    pub const STATE_16: Source =
        Source { path: "words/state_16", text: include_str!("../words/state_16.wgsl") };
    /// State of fewer bits.
    pub const STATE_CODES: Source =
        Source { path: "words/state_codes", text: include_str!("../words/state_codes.wgsl") };
    /// Parameters of 32 bits, four to a word.
    pub const PARAM_32: Source =
        Source { path: "words/param_32", text: include_str!("../words/param_32.wgsl") };
    /// Parameters of 32 bits, one to a word.
    pub const PARAM_32_SCALAR: Source = Source {
        path: "words/param_32_scalar",
        text: include_str!("../words/param_32_scalar.wgsl"),
    };
    /// Parameters of 16 bits, four to a word.
    pub const PARAM_16: Source =
        Source { path: "words/param_16", text: include_str!("../words/param_16.wgsl") };
    /// Parameters of 16 bits, two to a word.
    pub const PARAM_16_SCALAR: Source = Source {
        path: "words/param_16_scalar",
        text: include_str!("../words/param_16_scalar.wgsl"),
    };
    /// Gradients of 32 bits, four to a word.
    pub const GRAD_32: Source =
        Source { path: "words/grad_32", text: include_str!("../words/grad_32.wgsl") };
    /// Gradients of 32 bits, one to a word.
    pub const GRAD_32_SCALAR: Source =
        Source { path: "words/grad_32_scalar", text: include_str!("../words/grad_32_scalar.wgsl") };
    /// Gradients of 16 bits, four to a word.
    pub const GRAD_16: Source =
        Source { path: "words/grad_16", text: include_str!("../words/grad_16.wgsl") };
    /// Gradients of 16 bits, two to a word.
    pub const GRAD_16_SCALAR: Source =
        Source { path: "words/grad_16_scalar", text: include_str!("../words/grad_16_scalar.wgsl") };
    /// Single words of gradients in their own binding.
    pub const GRAD_OWN: Source =
        Source { path: "words/grad_own", text: include_str!("../words/grad_own.wgsl") };
    /// Single words of gradients in the parameters' binding.
    pub const GRAD_IN_PARAM: Source =
        Source { path: "words/grad_in_param", text: include_str!("../words/grad_in_param.wgsl") };
    /// Gradients in the parameters' binding, of the same size.
    pub const GRAD_SHARED: Source =
        Source { path: "words/grad_shared", text: include_str!("../words/grad_shared.wgsl") };
    /// State slots with a word for each vec4.
    pub const SLOT_VEC4: Source =
        Source { path: "words/slot_vec4", text: include_str!("../words/slot_vec4.wgsl") };
    /// State slots in blocks of codes with a scale.
    pub const SLOT_BLOCKS: Source =
        Source { path: "words/slot_blocks", text: include_str!("../words/slot_blocks.wgsl") };
    /// Codes of eight bits in blocks.
    pub const SLOT_8: Source =
        Source { path: "words/slot_8", text: include_str!("../words/slot_8.wgsl") };
    /// Codes of four bits in blocks.
    pub const SLOT_4: Source =
        Source { path: "words/slot_4", text: include_str!("../words/slot_4.wgsl") };
    /// Four codes of 8 bits in a u32.
    pub const BYTES: Source =
        Source { path: "words/bytes", text: include_str!("../words/bytes.wgsl") };
    /// Two codes in a u32.
    pub const HALVES: Source =
        Source { path: "words/halves", text: include_str!("../words/halves.wgsl") };
}

/// Which elements of a state slot share a scale.
pub mod blocks {
    use super::Source;

    /// 256 elements.
    pub const ELEMS_256: Source =
        Source { path: "blocks/elems_256", text: include_str!("../blocks/elems_256.wgsl") };
    /// 128 elements.
    pub const ELEMS_128: Source =
        Source { path: "blocks/elems_128", text: include_str!("../blocks/elems_128.wgsl") };
    /// The largest magnitude among 32 lanes, for blocks of 256 and 128.
    pub const LANES_32: Source =
        Source { path: "blocks/lanes_32", text: include_str!("../blocks/lanes_32.wgsl") };
    /// 32 elements.
    pub const ELEMS_32: Source =
        Source { path: "blocks/elems_32", text: include_str!("../blocks/elems_32.wgsl") };
}

/// What codes mean.
pub mod formats {
    use super::Source;

    /// IEEE 754 binary16.
    pub const F16: Source =
        Source { path: "formats/f16", text: include_str!("../formats/f16.wgsl") };
    /// bfloat16.
    pub const BF16: Source =
        Source { path: "formats/bf16", text: include_str!("../formats/bf16.wgsl") };
    /// The dynamic code books of 8 bits.
    pub const DYNAMIC: Source =
        Source { path: "formats/dynamic", text: include_str!("../formats/dynamic.wgsl") };
    /// The code books of 4 bits.
    pub const NIBBLE: Source =
        Source { path: "formats/nibble", text: include_str!("../formats/nibble.wgsl") };
    /// fp8 with 4 bits of exponent and 3 of mantissa.
    pub const E4M3: Source =
        Source { path: "formats/e4m3", text: include_str!("../formats/e4m3.wgsl") };
    /// Companded integers of 8 bits.
    pub const COMPANDED: Source =
        Source { path: "formats/companded", text: include_str!("../formats/companded.wgsl") };
}

/// The formats of the roles.
pub mod codecs {
    use super::Source;

    /// f32 parameters.
    pub const PARAM_F32: Source =
        Source { path: "codecs/param_f32", text: include_str!("../codecs/param_f32.wgsl") };
    /// f16 parameters.
    pub const PARAM_F16: Source =
        Source { path: "codecs/param_f16", text: include_str!("../codecs/param_f16.wgsl") };
    /// bf16 parameters.
    pub const PARAM_BF16: Source =
        Source { path: "codecs/param_bf16", text: include_str!("../codecs/param_bf16.wgsl") };
    /// f32 gradients.
    pub const GRAD_F32: Source =
        Source { path: "codecs/grad_f32", text: include_str!("../codecs/grad_f32.wgsl") };
    /// f16 gradients.
    pub const GRAD_F16: Source =
        Source { path: "codecs/grad_f16", text: include_str!("../codecs/grad_f16.wgsl") };
    /// bf16 gradients.
    pub const GRAD_BF16: Source =
        Source { path: "codecs/grad_bf16", text: include_str!("../codecs/grad_bf16.wgsl") };
    /// f32 state.
    pub const STATE_F32: Source =
        Source { path: "codecs/state_f32", text: include_str!("../codecs/state_f32.wgsl") };
    /// bf16 state with stochastic rounding.
    pub const STATE_BF16: Source =
        Source { path: "codecs/state_bf16", text: include_str!("../codecs/state_bf16.wgsl") };
    /// Block-wise 8-bit state.
    pub const STATE_INT8: Source =
        Source { path: "codecs/state_int8", text: include_str!("../codecs/state_int8.wgsl") };
    /// Block-wise 4-bit state.
    pub const STATE_INT4: Source =
        Source { path: "codecs/state_int4", text: include_str!("../codecs/state_int4.wgsl") };
    /// Block-wise fp8 state.
    pub const STATE_FP8: Source =
        Source { path: "codecs/state_fp8", text: include_str!("../codecs/state_fp8.wgsl") };
    /// Block-wise companded 8-bit state.
    pub const STATE_COMPANDED: Source = Source {
        path: "codecs/state_companded",
        text: include_str!("../codecs/state_companded.wgsl"),
    };
}

/// What a parameter keeps of small updates.
pub mod precision {
    use super::Source;

    /// Nothing: rounding to nearest.
    pub const NEAREST: Source =
        Source { path: "precision/nearest", text: include_str!("../precision/nearest.wgsl") };
    /// On the average all: stochastic rounding.
    pub const STOCHASTIC: Source =
        Source { path: "precision/stochastic", text: include_str!("../precision/stochastic.wgsl") };
    /// All: a master copy in f32.
    pub const MASTER: Source =
        Source { path: "precision/master", text: include_str!("../precision/master.wgsl") };
    /// All: the lower 16 bits of the f32 whose upper 16 the bf16 is.
    pub const REMAINDER: Source =
        Source { path: "precision/remainder", text: include_str!("../precision/remainder.wgsl") };
    /// Nearly all: 8 bits of these.
    pub const REMAINDER8: Source =
        Source { path: "precision/remainder8", text: include_str!("../precision/remainder8.wgsl") };
}

/// Kernels around the update.
pub mod control {
    use super::Source;

    /// Sums of squares of the gradients, and whether they are finite.
    pub const MEASURE: Source =
        Source { path: "control/measure", text: include_str!("../control/measure.wgsl") };
    /// Exact sums of the partials.
    pub const TOTAL: Source =
        Source { path: "control/total", text: include_str!("../control/total.wgsl") };
    /// Norms, clip factors, skip, loss scale.
    pub const DECIDE: Source =
        Source { path: "control/decide", text: include_str!("../control/decide.wgsl") };
    /// Names the run of each tile.
    pub const EXPAND: Source =
        Source { path: "control/expand", text: include_str!("../control/expand.wgsl") };
    /// Counts each tensor's step and derives its scalars.
    pub const ADVANCE: Source =
        Source { path: "control/advance", text: include_str!("../control/advance.wgsl") };
    /// Values into blocks of codes, and back.
    pub const QUANTIZE: Source =
        Source { path: "control/quantize", text: include_str!("../control/quantize.wgsl") };
    /// Adds a micro-batch's gradients to the batch's.
    pub const ACCUMULATE: Source =
        Source { path: "control/accumulate", text: include_str!("../control/accumulate.wgsl") };
}

/// Kernels for measurements.
pub mod probes {
    use super::Source;

    /// Moves what a rule moves, and computes nothing.
    pub const TRAFFIC: Source =
        Source { path: "probes/traffic", text: include_str!("../probes/traffic.wgsl") };
    /// 16-bit parameters as words.
    pub const PARAM_16: Source =
        Source { path: "probes/param_16", text: include_str!("../probes/param_16.wgsl") };
    /// 16-bit gradients as words.
    pub const GRAD_16: Source =
        Source { path: "probes/grad_16", text: include_str!("../probes/grad_16.wgsl") };
    /// A master copy beside the parameter, as words.
    pub const MASTER_4: Source =
        Source { path: "probes/master_4", text: include_str!("../probes/master_4.wgsl") };
    /// A 16-bit remainder beside the parameter, as words.
    pub const MASTER_2: Source =
        Source { path: "probes/master_2", text: include_str!("../probes/master_2.wgsl") };
    /// An 8-bit remainder beside the parameter, as words.
    pub const MASTER_1: Source =
        Source { path: "probes/master_1", text: include_str!("../probes/master_1.wgsl") };
    /// 16-bit state as words.
    pub const STATE_16: Source =
        Source { path: "probes/state_16", text: include_str!("../probes/state_16.wgsl") };
    /// Codes and scales as words.
    pub const STATE_BLOCKS: Source =
        Source { path: "probes/state_blocks", text: include_str!("../probes/state_blocks.wgsl") };
}

/// Functions and structs that several files use.
pub mod shared {
    use super::Source;

    /// What is decided about a step.
    pub const DECISION: Source =
        Source { path: "shared/decision", text: include_str!("../shared/decision.wgsl") };
    /// `e^x - 1` for `x <= 0`.
    pub const EXPM1: Source =
        Source { path: "shared/expm1", text: include_str!("../shared/expm1.wgsl") };
    /// The gradient that a rule sees.
    pub const GRADIENT: Source =
        Source { path: "shared/gradient", text: include_str!("../shared/gradient.wgsl") };
    /// The rule's constants.
    pub const HYPER: Source =
        Source { path: "shared/hyper", text: include_str!("../shared/hyper.wgsl") };
    /// `torch.lerp`.
    pub const LERP: Source =
        Source { path: "shared/lerp", text: include_str!("../shared/lerp.wgsl") };
    /// The larger of two numbers that are not negative.
    pub const MAX_MAGNITUDE: Source =
        Source { path: "shared/max_magnitude", text: include_str!("../shared/max_magnitude.wgsl") };
    /// The loss scale and its rule.
    pub const LOSS_SCALE: Source =
        Source { path: "shared/loss_scale", text: include_str!("../shared/loss_scale.wgsl") };
    /// Random bits as a function of a counter.
    pub const NOISE: Source =
        Source { path: "shared/noise", text: include_str!("../shared/noise.wgsl") };
    /// A sum of squares beyond the range of f32.
    pub const PARTIAL: Source =
        Source { path: "shared/partial", text: include_str!("../shared/partial.wgsl") };
    /// Where a lane's elements lie.
    pub const PLACE: Source =
        Source { path: "shared/place", text: include_str!("../shared/place.wgsl") };
    /// What is known of a tensor once and for all.
    pub const PLACEMENT: Source =
        Source { path: "shared/placement", text: include_str!("../shared/placement.wgsl") };
    /// A bf16 and what it lacks of an f32.
    pub const REMAINDER: Source =
        Source { path: "shared/remainder", text: include_str!("../shared/remainder.wgsl") };
    /// Consecutive tiles of a tensor.
    pub const RUN: Source = Source { path: "shared/run", text: include_str!("../shared/run.wgsl") };
    /// The runs in a uniform buffer.
    pub const RUNS_UNIFORM: Source =
        Source { path: "shared/runs_uniform", text: include_str!("../shared/runs_uniform.wgsl") };
    /// The runs in a storage buffer.
    pub const RUNS_STORAGE: Source =
        Source { path: "shared/runs_storage", text: include_str!("../shared/runs_storage.wgsl") };
    /// The state of four elements.
    pub const SLOTS: Source =
        Source { path: "shared/slots", text: include_str!("../shared/slots.wgsl") };
    /// The partials of a group.
    pub const SPAN: Source =
        Source { path: "shared/span", text: include_str!("../shared/span.wgsl") };
    /// What a step brings.
    pub const STEP_INPUT: Source =
        Source { path: "shared/step_input", text: include_str!("../shared/step_input.wgsl") };
    /// The record of a tensor.
    pub const TENSOR: Source =
        Source { path: "shared/tensor", text: include_str!("../shared/tensor.wgsl") };
    /// An exact sum.
    pub const TOTAL: Source =
        Source { path: "shared/total", text: include_str!("../shared/total.wgsl") };
    /// What a rule gives back.
    pub const UPDATED: Source =
        Source { path: "shared/updated", text: include_str!("../shared/updated.wgsl") };
    /// Where the bindings of an arena's dispatch begin.
    pub const WINDOW: Source =
        Source { path: "shared/window", text: include_str!("../shared/window.wgsl") };
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
