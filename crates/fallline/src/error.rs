mod role;
mod rule;
mod several;

use wgpu::BufferUsages;

pub use self::{role::Role, rule::RuleError};
use crate::{Dtype, Precision, StateFormat, formats::either};

/// What this crate's functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Whatever is wrong with the input is found before anything is written to the GPU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the request.
    #[error(
        "no GPU adapter{wanted} found (adapters here: {found}); on Debian, \
         `apt-get install mesa-vulkan-drivers` gives a software Vulkan device"
    )]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters that there are.
        found: String,
    },
    /// The adapter gave no device.
    #[error("adapter '{adapter}' gave no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// What wgpu said. It is part of the message, and so no source besides.
        reason: wgpu::RequestDeviceError,
    },
    /// `WGPU_BACKEND` names a backend that does not exist.
    #[error("WGPU_BACKEND names the backend '{found}', but the backends are {known}")]
    UnknownBackend {
        /// The name.
        found: String,
        /// The names that there are.
        known: &'static str,
    },
    /// The device has less than a kernel needs.
    #[error("the device's limit {limit} is {found}, but at least {expected} is needed")]
    DeviceLimit {
        /// The name of the limit in WebGPU.
        limit: &'static str,
        /// What is needed.
        expected: u64,
        /// What the device has.
        found: u64,
    },
    /// The device is lost; nothing that was submitted since can be relied upon.
    #[error("the GPU device is lost")]
    DeviceLost,
    /// The device ran out of memory. Natively wgpu gives the device up where that was not for a buffer: then the next call is
    /// [`DeviceLost`](Self::DeviceLost), and what was saved goes on on another.
    #[error("out of GPU memory: {what}{}", size_bytes.map_or_else(String::new, |n| format!(", {n} bytes")))]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// How much was asked for, where that is known.
        size_bytes: Option<u64>,
    },
    /// wgpu refused a call: a buffer that is destroyed or of another device, or a defect of this crate
    /// or of the driver.
    #[error("the GPU refused {what}: {message}")]
    Gpu {
        /// What was being done.
        what: String,
        /// What wgpu said.
        message: String,
    },

    /// An optimizer without groups.
    #[error("an optimizer needs at least one parameter group")]
    NoGroups,
    /// A hyperparameter out of its range.
    #[error("group '{group}': {name} must be {expected}, found {found}")]
    Hyperparameter {
        /// The group's name.
        group: String,
        /// torch's name of the hyperparameter.
        name: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// An option of a [schedule](crate::schedule) out of its range.
    #[error("schedule '{kind}': {option} must be {expected}, found {found}")]
    Schedule {
        /// Its kind, by the name that configurations have for it.
        kind: &'static str,
        /// The option.
        option: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A [`SchedulerState`](crate::schedule::SchedulerState) of another schedule, or of other groups.
    #[error("the scheduler's state: {what} must be {expected}, found {found}")]
    SchedulerState {
        /// What of it.
        what: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// An option that a group cannot have.
    #[error("group '{group}' cannot have {option}: {reason}")]
    GroupOption {
        /// The group's name.
        group: String,
        /// The option, a field of [`Group`](crate::Group).
        option: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// What needs the parameters as they are trained, while they are those to be evaluated.
    #[error(
        "{what} needs the parameters as they are trained, but they are those to be evaluated: call `train` first"
    )]
    Evaluating {
        /// What was to be done.
        what: &'static str,
    },
    /// What needs something to be done that is recorded, and not submitted.
    #[error("{what} needs what `{recorded}` has recorded: submit its encoder first")]
    NotSubmitted {
        /// What was to be done.
        what: &'static str,
        /// The call that recorded.
        recorded: &'static str,
    },
    /// A snapshot of another optimizer, or from before its tensors were changed.
    #[error("the snapshot is of another optimizer, or of other tensors than it has now")]
    OtherSnapshot,
    /// Groups of one rule with more distinct hyperparameters than a kernel can tell apart. (Learning
    /// rate and decoupled weight decay do not count.)
    #[error("the groups of one rule have more than {limit} distinct sets of hyperparameters")]
    TooManyHyperparameters {
        /// How many there may be.
        limit: usize,
    },
    /// A rule of the caller's is not what a rule must be.
    #[error(transparent)]
    Rule(RuleError),
    /// A group that the optimizer does not have.
    #[error("there is no group '{group}' (groups: {known})")]
    NoSuchGroup {
        /// The name.
        group: String,
        /// The names that there are.
        known: String,
    },
    /// Hyperparameters of another rule, or of one with other switches or slots.
    #[error("group '{group}' steps by {expected}; {found} is another rule")]
    OtherRule {
        /// The group's name.
        group: String,
        /// The group's rule with its switches and slots.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Two groups of the same name.
    #[error("group '{name}' is given twice")]
    DuplicateGroup {
        /// The name.
        name: String,
    },
    /// Two tensors of the same name.
    #[error("tensor '{name}' is given twice")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A tensor in a group that does not exist.
    #[error("tensor '{tensor}' is in group '{group}', but the groups are: {known}")]
    UnknownGroup {
        /// The tensor's name.
        tensor: String,
        /// The group that it names.
        group: String,
        /// The groups that there are.
        known: String,
    },
    /// A glob that none is.
    #[error("the glob '{glob}': {reason}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// Globs and names that match no tensor.
    #[error("no tensor matches {}", patterns.join(", "))]
    NoMatch {
        /// Each in words, with whose it is.
        patterns: Vec<String>,
    },
    /// Tensors that no group selects.
    #[error("no group selects '{}': Groups::rest makes one of all others", tensors.join("', '"))]
    Unselected {
        /// The tensors' names.
        tensors: Vec<String>,
    },
    /// A tensor that two groups select.
    #[error("tensor '{tensor}' is selected by group '{group}' and by group '{other}'")]
    SelectedTwice {
        /// The tensor's name.
        tensor: String,
        /// A group.
        group: String,
        /// Another.
        other: String,
    },
    /// A tensor id of another optimizer.
    #[error("there is no tensor {index}: the optimizer has {len} tensors")]
    UnknownTensor {
        /// The id's index.
        index: usize,
        /// How many tensors there are.
        len: usize,
    },
    /// A state slot that the tensor's rule does not keep.
    #[error("tensor '{tensor}' has no state '{slot}': its rule keeps {known}")]
    UnknownSlot {
        /// The tensor's name.
        tensor: String,
        /// The slot that was asked for.
        slot: String,
        /// The slots that the rule keeps.
        known: String,
    },
    /// Blocks that are no equal parts of a tensor's first dimension.
    #[error(
        "tensor '{tensor}': {blocks} blocks of '{slot}' are not equal parts of a first dimension of {first}"
    )]
    Blocks {
        /// The tensor's name.
        tensor: String,
        /// The slot that has a value for each of them.
        slot: &'static str,
        /// How many there are.
        blocks: usize,
        /// The first dimension; 1 without any.
        first: usize,
    },
    /// A tensor that no buffer of this device can hold.
    #[error(
        "tensor '{tensor}' needs {size_bytes} bytes in one buffer, but the device's \
         max_buffer_size is {max_bytes}"
    )]
    TensorTooLarge {
        /// The tensor's name.
        tensor: String,
        /// What it needs.
        size_bytes: u64,
        /// What the device has.
        max_bytes: u64,
    },
    /// A shape whose number of elements does not fit.
    #[error("tensor '{tensor}': the shape {shape:?} has too many elements")]
    ShapeOverflow {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A length that does not match the tensor's shape.
    #[error("tensor '{tensor}': the {what} must have {expected} elements, found {found}")]
    Length {
        /// The tensor's name.
        tensor: String,
        /// What has the wrong length.
        what: String,
        /// The number of elements that the shape asks for.
        expected: u64,
        /// The number of elements that were given.
        found: u64,
    },
    /// A range that reaches beyond its buffer.
    #[error(
        "tensor '{tensor}': the {role} needs bytes {offset}..{end} of a buffer of {size_bytes} bytes"
    )]
    BufferTooSmall {
        /// The tensor's name.
        tensor: String,
        /// Which buffer.
        role: Role,
        /// The first byte.
        offset: u64,
        /// The byte behind the last.
        end: u64,
        /// The buffer's size.
        size_bytes: u64,
    },
    /// An offset that is not aligned.
    #[error(
        "tensor '{tensor}': the {role} begins at byte {offset} of its buffer, which must be a \
         multiple of {expected}"
    )]
    MisalignedOffset {
        /// The tensor's name.
        tensor: String,
        /// Which buffer.
        role: Role,
        /// The offset that was given.
        offset: u64,
        /// The alignment that is needed.
        expected: u64,
    },
    /// Tensors without places for an optimizer that borrows its parameters and gradients.
    #[error(
        "the optimizer borrows parameters and gradients: say where those of new tensors lie \
         (add_borrowed)"
    )]
    NotArena,
    /// [`Optimizer::fetch_plan`](crate::Optimizer::fetch_plan) of an optimizer over borrowed buffers.
    #[error(
        "the optimizer borrows parameters and gradients: a plan is of an arena, all of whose buffers it \
         can describe"
    )]
    PlanOfBorrowed,
    /// [`Optimizer::rebind`](crate::Optimizer::rebind) of an arena.
    #[error("the optimizer owns its parameters and gradients: there is nothing to rebind")]
    NotBorrowed,
    /// [`Optimizer::rebind`](crate::Optimizer::rebind) with other tensors than it was built with.
    #[error("tensor {index} to rebind must be {expected}, found {found}")]
    OtherTensors {
        /// The tensor's number, counted from 0.
        index: usize,
        /// Name and shape of the tensor that the optimizer was built with.
        expected: String,
        /// Name and shape of the tensor that was given.
        found: String,
    },
    /// Another number of places than of tensors.
    #[error("{expected} {role}s have places, one for each tensor, found {found}")]
    PlaceCount {
        /// Of what.
        role: Role,
        /// The number of tensors.
        expected: usize,
        /// The number of places.
        found: usize,
    },
    /// Sums of another number of groups.
    #[error("sums of {expected} groups are needed, found those of {found}")]
    SumCount {
        /// The number of groups.
        expected: usize,
        /// That of the sums.
        found: usize,
    },
    /// A gradient of a tensor that was lent none.
    #[error("tensor '{tensor}' has no gradient in the places of the last step")]
    NoGrad {
        /// The tensor's name.
        tensor: String,
    },
    /// A buffer without a usage that is needed.
    #[error(
        "tensor '{tensor}': the {role}'s buffer needs the usage {expected:?}, it has {found:?}"
    )]
    BufferUsage {
        /// The tensor's name.
        tensor: String,
        /// Which buffer.
        role: Role,
        /// The usage that is needed.
        expected: BufferUsages,
        /// The usage that it has.
        found: BufferUsages,
    },
    /// A piece of a tensor that no piece can be.
    #[error(
        "tensor '{tensor}': a piece must {expected}, found elements {first_elem}..{end_elem} of \
         {whole_len_elems}"
    )]
    Piece {
        /// The tensor's name.
        tensor: String,
        /// What it must do.
        expected: &'static str,
        /// Where it begins in its whole.
        first_elem: u64,
        /// Where it ends.
        end_elem: u64,
        /// Elements of the whole.
        whole_len_elems: u64,
    },
    /// A parameter that cannot be kept as asked.
    #[error(
        "tensor '{tensor}': {} needs a parameter in {}, found {found}",
        precision.in_words(),
        either(*expected)
    )]
    Precision {
        /// The tensor's name.
        tensor: String,
        /// How it should be kept.
        precision: Precision,
        /// The formats that can be.
        expected: &'static [Dtype],
        /// The parameter's format.
        found: Dtype,
    },
    /// A name that no format has.
    #[error("{what} must be {}, found \"{found}\"", either(expected.iter().map(|name| format!("\"{name}\""))))]
    UnknownFormat {
        /// The kind: "a state format".
        what: &'static str,
        /// The names that there are.
        expected: Vec<&'static str>,
        /// The name.
        found: String,
    },
    /// Codes, scales or blocks of another length than their tensor.
    #[error(
        "{format}: the {what} of {len_elems} elements must have {expected} bytes, found {found}"
    )]
    BlockBytes {
        /// Their format.
        format: StateFormat,
        /// Which of the three.
        what: &'static str,
        /// Elements of the tensor.
        len_elems: u64,
        /// The bytes that these have.
        expected: u64,
        /// The bytes that were given.
        found: u64,
    },
    /// Gradients that cannot be added up in the format that they are kept in.
    #[error("tensor '{tensor}': gradients add up in f32 or bf16, but its gradient is {found}")]
    AccumulatorFormat {
        /// The tensor's name.
        tensor: String,
        /// The gradient's format.
        found: Dtype,
    },
    /// Another number of gradients to accumulate than of tensors.
    #[error("{expected} gradients are needed, one for each tensor, found {found}")]
    GradCount {
        /// The number of tensors.
        expected: usize,
        /// The number of gradients.
        found: usize,
    },
    /// A limit, scale or factor out of its range.
    #[error("{what} must be {expected}, found {found}")]
    Factor {
        /// What it is, with the group's name if it is a group's.
        what: String,
        /// The range.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// A loss scaler that was made with another [`Gpu`](crate::Gpu) than the optimizer.
    #[error(
        "the loss scaler lives on another device than the optimizer: both must be made with clones \
         of one Gpu"
    )]
    ForeignScaler,
    /// A report of an optimizer that measures nothing.
    #[error(
        "the optimizer has nothing to report: it neither clips to a norm, nor scales, nor looks for \
         overflow (a max_norm of infinity measures and changes nothing)"
    )]
    NothingToReport,
    /// [`Step::zero_grads`](crate::Step::zero_grads) with tensors that share a gradient: one would be
    /// updated after the other has set it to zero.
    #[error(
        "gradients cannot be set to zero in the step: tensors '{tensor}' and '{other}' share theirs"
    )]
    SharedGrad {
        /// A tensor.
        tensor: String,
        /// Another with the same gradient, or part of it.
        other: String,
    },
    /// An estimate of the Hessian's diagonal for rules that take none.
    #[error("no group's rule takes estimates of the Hessian's diagonal (rules: {rules})")]
    NoEstimates {
        /// The groups' rules.
        rules: String,
    },
    /// Two ranges, one of them written, that share bytes.
    #[error(
        "the parameter of tensor '{tensor}' overlaps the {role} of tensor '{other}'{}",
        if *role == Role::Param { ": parameters that are tied are one tensor, to be lent once" } else { "" }
    )]
    Overlap {
        /// The tensor whose parameter is written.
        tensor: String,
        /// What it overlaps.
        role: Role,
        /// The tensor that this belongs to.
        other: String,
    },
    /// Values and blocks of a [`Quantizer`](crate::Quantizer) that share bytes, or that lie in one buffer so
    /// close that no two bindings can tell them apart.
    #[error(
        "the {role} of tensor '{tensor}' and the {other_role} of tensor '{other}' lie on the same \
         bytes of a buffer, or in the same {alignment} bytes"
    )]
    BlocksOverlap {
        /// A tensor.
        tensor: String,
        /// What of it.
        role: Role,
        /// The other tensor, or the same.
        other: String,
        /// What of that.
        other_role: Role,
        /// At multiples of how many bytes a binding may begin.
        alignment: u64,
    },

    /// Something that an optimizer needs and that was not saved.
    #[error("{entry} was not saved")]
    SavedMissing {
        /// What is missing.
        entry: String,
    },
    /// Something that was saved and that an optimizer does not have.
    #[error("{entry} was saved, and the optimizer has no such thing")]
    SavedUnexpected {
        /// What there is too much of.
        entry: String,
    },
    /// Something that was saved of another shape, rule or format.
    #[error("{entry} must be {expected}, but was saved as {found}")]
    SavedDiffers {
        /// What differs.
        entry: String,
        /// What the optimizer needs.
        expected: String,
        /// What was saved.
        found: String,
    },
    /// Several of these.
    #[error("{}", several::list(.mismatches))]
    SavedMismatches {
        /// Each of them.
        mismatches: Vec<Error>,
    },
    /// A [`SaveSink`](crate::SaveSink) that failed.
    #[error("cannot save {entry}")]
    Sink {
        /// What was to be saved.
        entry: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A [`LoadSource`](crate::LoadSource) that failed.
    #[error("cannot read {entry} of what was saved")]
    Source {
        /// What was to be read.
        entry: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// One learning rate for groups that were given different ones.
    #[error(
        "groups '{group}' and '{other}' have different learning rates ({lr} and {other_lr}): use \
         Step::lr_factor to keep their ratio, or Step::lr_per_group"
    )]
    LearningRatesDiffer {
        /// A group.
        group: String,
        /// Its learning rate.
        lr: f64,
        /// Another.
        other: String,
        /// Its learning rate.
        other_lr: f64,
    },
    /// A learning rate that is negative, not finite, or another than the only one that a rule takes.
    #[error("group '{group}': the learning rate of a step must be {expected}, found {found}")]
    LearningRate {
        /// The group's name.
        group: String,
        /// What it may be.
        expected: String,
        /// The value.
        found: f64,
    },
    /// Another number of learning rates than of groups or tensors.
    #[error("{expected} learning rates are needed, one for each {each}, found {found}")]
    LearningRateCount {
        /// What has a rate each: group or tensor.
        each: &'static str,
        /// How many there are.
        expected: usize,
        /// The number of learning rates.
        found: usize,
    },
    /// Too many steps wait in encoders that were never submitted.
    #[error(
        "{limit} steps are recorded and not yet submitted; submit or drop their encoders \
         before recording more"
    )]
    TooManyUnsubmittedSteps {
        /// How many there may be.
        limit: usize,
    },
}
