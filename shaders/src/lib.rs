//! The WGSL sources of fallline, one constant for each file.
//!
//! A step kernel is `frame + rule + packing + codecs + precision`, with the structs, tables and functions that these
//! use, joined by [`join`]: plain concatenation, which WGSL permits because the order of declarations at module scope
//! is free. There is no preprocessor; numbers and switches are `override` constants.
//!
//! | folder       | what a file holds                                                                |
//! |--------------|----------------------------------------------------------------------------------|
//! | `frames/`    | the entry point `main` and every binding; where a lane's eight elements lie       |
//! | `rules/`     | one optimizer as a pure function, with its `Hyper` constants and `State` slots   |
//! | `packing/`   | how four codes are packed into words: their size, whose binding, vec4s or elements |
//! | `blocks/`    | which elements of a state slot share a scale: their largest magnitude             |
//! | `formats/`   | what a code means: f16, bf16, e4m3, the code books of 8 and 4 bits                |
//! | `codecs/`    | the format of a role: parameter, gradient, state slot                            |
//! | `precision/` | what a parameter keeps of an update that is smaller than its last bit            |
//! | `control/`   | whole kernels that run before the update in the same pass, and *accumulate*      |
//! | `probes/`    | for measurements: joined like a rule                                             |
//! | `structs/`   | structs that several of these use, alone in their files                           |
//! | `tables/`    | tables of structs that a kernel binds, and how a row is read                     |
//! | `functions/` | functions that several of these use                                              |
//!
//! What each must declare, so that any of them fit together:
//!
//! - a **rule**: constants that every element needs, `struct Hyper`, and that its scalars are made of,
//!   `struct StepHyper`, both of f32 in 32 bytes; `struct Scalars` in 16; `struct State`;
//!
//!   ```wgsl
//!   // Once for each tensor and step. `kept` holds the rule's scalar slots: the tensor's, and the joint ones.
//!   fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars
//!   // Once for each element; the scalars are `tensor.scalars`.
//!   fn propose(param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> Proposal
//!   fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32>
//!   // Which slot is what.
//!   fn state_of(slots: Slots) -> State
//!   fn slots_of(state: State) -> Slots
//!   // If it looks at more than an element before it applies anything: what is summed over a tensor, a group or
//!   // all tensors (w is their number of elements), and what comes of the sums.
//!   fn terms(param: vec4<f32>, grad: vec4<f32>, proposal: Proposal, tensor: Tensor, hyper: Hyper) -> Terms
//!   fn decide(sums: vec4<f32>, before: Scalars, kept: Kept, hyper: StepHyper) -> Scalars
//!   // If it has scalar slots, before `scalars`, and in steps without gradient if the rule asks so; else
//!   // `functions/keeps_nothing.wgsl`.
//!   fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32>
//!   // If it has joint ones, before `decide`; else `functions/keeps_nothing_joint.wgsl`.
//!   fn keep_joint(sums: vec4<f32>, before: vec4<f32>, hyper: StepHyper) -> vec4<f32>
//!   // If it has slots of rows, columns or blocks: what is averaged over each, and what it keeps of the mean, where a
//!   // block is a row. Without columns: `functions/no_columns.wgsl`.
//!   fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32>
//!   fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32
//!   fn keep_column(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32
//!   // Of rows and columns: what the elements of a row see of it, beside the mean over all rows of the matrix.
//!   fn row_factor(row: f32, mean: f32, hyper: StepHyper) -> f32
//!   // If parameters are evaluated elsewhere than where they are trained: where, by the state.
//!   fn evaluated(param: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> vec4<f32>
//!   // If it takes estimates of the Hessian's diagonal, once for each element and estimate.
//!   fn estimate(value: vec4<f32>, state: State, hyper: Hyper) -> State
//!   ```
//!
//!   Decoupled weight decay is `decayed(param, direction, factor)`, in `apply`, so that a group may ask for it to be
//!   cautious;
//! - a **packing** of a role: the alias of its word (`ParamWord`, `GradWord`), and
//!   `param_codes(at, count)`, `set_param_codes(at, codes, count)` or the same of `grad`; `count` is
//!   how many of the four elements exist, 0 for a lane without work;
//! - a **codec**: `decode_param(codes)` and `encode_param(value)`, or `decode_grad(codes)`; for the
//!   state either, for `packing/slot_vec4`, the alias `StateWord` and the conversions of a word, or, for
//!   `packing/slot_blocks`, the scale of a block, and values from codes and codes, packed, from values;
//! - **blocks**: where scales lie (`SCALE_WORDS`, `load_scales`, `store_scales`), and
//!   `largest_of_blocks(place, of_a, of_b)`, through workgroup memory;
//! - a **precision**: `MasterWord`, `load_param(place)` and `store_param(place, value, tensor)`;
//! - a **frame**: the bindings `param`, `grad`, `state`, `master` with these words.
//!
//! Structs are padded by fields, never by `@size` or `@align`: naga's GLSL does not know these.

/// Optimizers.
pub mod rules;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A WGSL source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The path below `shaders/`, without the extension: `rules/adamw`.
    pub path: &'static str,
    /// The text of the file.
    pub text: &'static str,
}

impl Source {
    /// The last part of the path: `adamw`.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        self.path.rsplit_once('/').map_or(self.path, |(_, stem)| stem)
    }
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

/// The files of a folder, one constant each, and all of them.
macro_rules! sources {
    ($(#[$doc:meta])* $folder:ident { $($(#[$file_doc:meta])* $name:ident = $stem:literal),* $(,)? }) => {
        $(#[$doc])*
        pub mod $folder {
            use super::Source;

            $(
                $(#[$file_doc])*
                pub const $name: Source = Source {
                    path: concat!(stringify!($folder), "/", $stem),
                    text: include_str!(concat!("../", stringify!($folder), "/", $stem, ".wgsl")),
                };
            )*

            /// All of them.
            pub const ALL: &[Source] = &[$($name),*];
        }
    };
}

sources! {
    /// Entry points of the update.
    frames {
        /// The entry point, whoever owns the buffers.
        UPDATE = "update",
        /// The entry point of what is summed over a tensor before an update.
        REDUCE = "reduce",
        /// The entry point of the exchange of parameters for what they are evaluated at.
        EXCHANGE = "exchange",
        /// The entry point of what a rule makes of an estimate of the Hessian.
        ESTIMATE = "estimate",
        /// What every frame binds beside its tables.
        ROLES = "roles",
        /// Every role lies at the same element index: the engine owns the buffers.
        ARENA = "arena",
        /// Parameters and gradients lie in the caller's buffers.
        BORROWED = "borrowed",
    }
}

sources! {
    /// How four codes are packed into words of memory.
    packing {
        /// State of 16 bits.
        STATE_16 = "state_16",
        /// State of fewer bits.
        STATE_CODES = "state_codes",
        /// Parameters of 32 bits, four to a word.
        PARAM_32 = "param_32",
        /// Parameters of 32 bits, one to a word.
        PARAM_32_SCALAR = "param_32_scalar",
        /// Parameters of 16 bits, four to a word.
        PARAM_16 = "param_16",
        /// Parameters of 16 bits, two to a word.
        PARAM_16_SCALAR = "param_16_scalar",
        /// Gradients of 32 bits, four to a word.
        GRAD_32 = "grad_32",
        /// Gradients of 32 bits, one to a word.
        GRAD_32_SCALAR = "grad_32_scalar",
        /// Gradients of 16 bits, four to a word.
        GRAD_16 = "grad_16",
        /// Gradients of 16 bits, two to a word.
        GRAD_16_SCALAR = "grad_16_scalar",
        /// Single words of gradients in their own binding.
        GRAD_OWN = "grad_own",
        /// Single words of gradients in the parameters' binding.
        GRAD_IN_PARAM = "grad_in_param",
        /// Gradients in the parameters' binding, of the same size.
        GRAD_SHARED = "grad_shared",
        /// State slots with a word for each vec4.
        SLOT_VEC4 = "slot_vec4",
        /// State slots in blocks of codes with a scale.
        SLOT_BLOCKS = "slot_blocks",
        /// Codes of eight bits in blocks.
        SLOT_8 = "slot_8",
        /// Codes of four bits in blocks.
        SLOT_4 = "slot_4",
        /// Four codes of 8 bits in a u32.
        BYTES = "bytes",
        /// Two codes in a u32.
        HALVES = "halves",
    }
}

sources! {
    /// Which elements of a state slot share a scale.
    blocks {
        /// 256 elements.
        ELEMS_256 = "elems_256",
        /// 128 elements.
        ELEMS_128 = "elems_128",
        /// The largest magnitude among 32 lanes, for blocks of 256 and 128.
        LANES_32 = "lanes_32",
        /// 32 elements.
        ELEMS_32 = "elems_32",
    }
}

sources! {
    /// What codes mean.
    formats {
        /// IEEE 754 binary16.
        F16 = "f16",
        /// Its rounding to the nearest code, by additions that the device rounds so.
        F16_NEAREST = "f16_nearest",
        /// The same by integers, on any device.
        F16_NEAREST_ON_BITS = "f16_nearest_on_bits",
        /// bfloat16.
        BF16 = "bf16",
        /// The dynamic code books of 8 bits.
        DYNAMIC = "dynamic",
        /// The code books of 4 bits.
        NIBBLE = "nibble",
        /// fp8 with 4 bits of exponent and 3 of mantissa.
        E4M3 = "e4m3",
        /// Its rounding to the nearest code, by additions that the device rounds so.
        E4M3_NEAREST = "e4m3_nearest",
        /// The same by integers, on any device.
        E4M3_NEAREST_ON_BITS = "e4m3_nearest_on_bits",
        /// Companded integers of 8 bits.
        COMPANDED = "companded",
    }
}

sources! {
    /// The formats of the roles.
    codecs {
        /// f32 parameters.
        PARAM_F32 = "param_f32",
        /// f16 parameters.
        PARAM_F16 = "param_f16",
        /// bf16 parameters.
        PARAM_BF16 = "param_bf16",
        /// f32 gradients.
        GRAD_F32 = "grad_f32",
        /// f16 gradients.
        GRAD_F16 = "grad_f16",
        /// bf16 gradients.
        GRAD_BF16 = "grad_bf16",
        /// f32 state.
        STATE_F32 = "state_f32",
        /// bf16 state with stochastic rounding.
        STATE_BF16 = "state_bf16",
        /// Block-wise 8-bit state.
        STATE_INT8 = "state_int8",
        /// Block-wise 4-bit state.
        STATE_INT4 = "state_int4",
        /// Block-wise fp8 state.
        STATE_FP8 = "state_fp8",
        /// Block-wise companded 8-bit state.
        STATE_COMPANDED = "state_companded",
    }
}

sources! {
    /// What a parameter keeps of small updates.
    precision {
        /// Nothing: rounding to nearest.
        NEAREST = "nearest",
        /// On the average all: stochastic rounding.
        STOCHASTIC = "stochastic",
        /// All: a master copy in f32.
        MASTER = "master",
        /// All: the lower 16 bits of the f32 whose upper 16 the bf16 is.
        REMAINDER = "remainder",
        /// Nearly all: 8 bits of these.
        REMAINDER8 = "remainder8",
    }
}

sources! {
    /// Kernels around the update.
    control {
        /// Sums of squares of the gradients, and whether they are finite.
        MEASURE = "measure",
        /// Exact sums of the partials.
        TOTAL = "total",
        /// Norms, clip factors, skip, loss scale.
        DECIDE = "decide",
        /// Names the run of each tile.
        EXPAND = "expand",
        /// Counts each tensor's step and derives its scalars.
        ADVANCE = "advance",
        /// Writes records for a pass outside of a step.
        ENLIST = "enlist",
        /// Adds up what a rule wanted summed over each tensor.
        FINISH = "finish",
        /// Adds up what a rule wanted summed over many tensors.
        GATHER = "gather",
        /// What a monitored step tells of each tensor.
        TENSOR_NORMS = "tensor_norms",
        /// What a monitored step tells of each group.
        GROUP_NORMS = "group_norms",
        /// What a rule wants averaged over rows and columns, in parts.
        MARGINS = "margins",
        /// What a rule keeps of rows and columns.
        VECTORS = "vectors",
        /// What elements see of their rows.
        MEANS = "means",
        /// Values into blocks of codes, and back.
        QUANTIZE = "quantize",
        /// Adds a micro-batch's gradients to the batch's.
        ACCUMULATE = "accumulate",
    }
}

sources! {
    /// Kernels for measurements.
    probes {
        /// Moves what a rule moves, and computes nothing.
        TRAFFIC = "traffic",
        /// Loads what a rule's reduction loads.
        REDUCE = "reduce",
        /// Loads the gradients that are summed over rows and columns.
        MARGINS = "margins",
        /// 16-bit parameters as words.
        PARAM_16 = "param_16",
        /// 16-bit gradients as words.
        GRAD_16 = "grad_16",
        /// A master copy beside the parameter, as words.
        MASTER_4 = "master_4",
        /// A 16-bit remainder beside the parameter, as words.
        MASTER_2 = "master_2",
        /// An 8-bit remainder beside the parameter, as words.
        MASTER_1 = "master_1",
        /// 16-bit state as words.
        STATE_16 = "state_16",
        /// Codes and scales as words.
        STATE_BLOCKS = "state_blocks",
    }
}

sources! {
    /// Structs that several files use.
    structs {
        /// What is decided about a step.
        DECISION = "decision",
        /// The constants of a group.
        GROUP = "group",
        /// The scalars that a rule keeps.
        KEPT = "kept",
        /// A tensor as matrices.
        MATRICES = "matrices",
        /// The loss scale and its rule.
        LOSS_SCALE = "loss_scale",
        /// What a monitored step tells.
        MONITORED = "monitored",
        /// A sum of squares beyond the range of f32.
        PARTIAL = "partial",
        /// A part of a tensor's gradient.
        PIECE = "piece",
        /// Where a lane's elements lie.
        PLACE = "place",
        /// What is known of a tensor once and for all.
        PLACEMENT = "placement",
        /// What a rule proposes for four elements.
        PROPOSAL = "proposal",
        /// Consecutive tiles of a tensor.
        RUN = "run",
        /// The state of four elements.
        SLOTS = "slots",
        /// The partials of a group.
        SPAN = "span",
        /// What a step brings.
        STEP_INPUT = "step_input",
        /// The record of a tensor.
        TENSOR = "tensor",
        /// What a rule wants summed over a tensor.
        TERMS = "terms",
        /// An exact sum.
        TOTAL = "total",
        /// Where the bindings of an arena's dispatch begin.
        WINDOW = "window",
    }
}

sources! {
    /// Tables that kernels bind, and how a row is read.
    tables {
        /// The records in a uniform buffer.
        TENSORS_UNIFORM = "tensors_uniform",
        /// The records in a storage buffer.
        TENSORS_STORAGE = "tensors_storage",
        /// The runs in a uniform buffer.
        RUNS_UNIFORM = "runs_uniform",
        /// The runs in a storage buffer.
        RUNS_STORAGE = "runs_storage",
        /// Pieces of gradients, and a workgroup's own.
        PIECES = "pieces",
        /// The kernel's constants.
        HYPER = "hyper",
        /// The sums of tiles.
        SUMS = "sums",
        /// Rows and columns, for elements.
        VECTORS = "vectors",
        /// In its place, for a rule that has none.
        NO_VECTORS = "no_vectors",
    }
}

sources! {
    /// Functions that several files use.
    functions {
        /// `e^x - 1` for `x <= 0`.
        EXPM1 = "expm1",
        /// The gradient that a rule sees.
        GRADIENT = "gradient",
        /// What comes after the update of any rule.
        AFTER = "after",
        /// In its place: nothing.
        NOTHING_AFTER = "nothing_after",
        /// Parameters are evaluated at their average.
        EVALUATED_AVERAGE = "evaluated_average",
        /// In its place: where the rule says.
        EVALUATED_BY_RULE = "evaluated_by_rule",
        /// Directions are followed as they are.
        AS_PROPOSED = "as_proposed",
        /// In its place: caution, a limit to the root mean square of a direction.
        STEERING = "steering",
        /// What a rule wants summed over tiles.
        RULE_SUMS = "rule_sums",
        /// In its place: what these want besides.
        STEERING_SUMS = "steering_sums",
        /// A rule that wants nothing summed.
        NO_TERMS = "no_terms",
        /// A rule that keeps nothing of columns.
        NO_COLUMNS = "no_columns",
        /// Decoupled weight decay.
        DECAY = "decay",
        /// In its place: the same where the direction does not work against it.
        CAUTIOUS_DECAY = "cautious_decay",
        /// A rule without scalars of a tensor's own.
        KEEPS_NOTHING = "keeps_nothing",
        /// A rule without scalars that tensors share.
        KEEPS_NOTHING_JOINT = "keeps_nothing_joint",
        /// `t^exponent`.
        POWER = "power",
        /// `torch.lerp`.
        LERP = "lerp",
        /// A gradient with an L2 penalty.
        L2 = "l2",
        /// The norm that an exact sum of squares gives.
        NORM = "norm",
        /// What a monitored update adds up.
        UPDATE_SUMS = "update_sums",
        /// In its place: nothing.
        NO_UPDATE_SUMS = "no_update_sums",
        /// Whether a sum is a number.
        SUM_BITS = "sum_bits",
        /// The larger of two numbers that are not negative.
        MAX_MAGNITUDE = "max_magnitude",
        /// Random bits as a function of a counter.
        NOISE = "noise",
        /// A value, or 0 if it is negative.
        NON_NEGATIVE = "non_negative",
        /// Of an adaptive learning rate, for few gradients.
        RECTIFICATION = "rectification",
        /// A bf16 and what it lacks of an f32.
        REMAINDER = "remainder",
        /// What schedule-free rules know of their steps.
        SCHEDULE_FREE = "schedule_free",
        /// Where the slots of a tile lie.
        SLOT_WORDS = "slot_words",
    }
}
