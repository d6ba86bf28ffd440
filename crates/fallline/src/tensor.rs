//! What a caller says about a tensor.

use crate::{Error, Result, layout::TILE_ELEMS};

/// The format of elements in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// Bytes of four elements: what a tensor's offset must be a multiple of.
    pub(crate) const fn vec4_bytes(self) -> u64 {
        4 * self.size_bytes()
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

/// What a parameter of 16 bits keeps of an update that is smaller than its last bit. A parameter in
/// f32 has [`Nearest`](Self::Nearest) only.
///
/// With p = 1 in bf16, a learning rate of 1e-4 and a constant gradient, 100 steps of Adam should give
/// 0.99. `Nearest` gives 1; the others 0.99 (`Stochastic` on the average).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Nothing: the result is rounded to the nearest code, ties to the even one.
    #[default]
    Nearest,
    /// On the average all: rounded up or down by a chance that is a function of seed, tensor, step and
    /// element (Gupta et al., *Deep Learning with Limited Numerical Precision*, 2015).
    Stochastic,
    /// All: an f32 copy, of which the parameter is the nearest code (Micikevicius et al., *Mixed
    /// Precision Training*, 2018). 4 bytes more for each element.
    ///
    /// An element whose parameter was written by somebody else starts again from what they wrote.
    Master,
    /// All, for bf16: parameter and a remainder of 16 bits are the f32 exactly (as in NVIDIA apex's
    /// `store_param_remainders`). 2 bytes more for each element. The parameter is the nearest code,
    /// ties away from zero.
    ///
    /// Where somebody else writes a parameter, the remainder stays, up to half a unit in the
    /// parameter's last place; [`Optimizer::write_param`](crate::Optimizer::write_param) writes both.
    Remainder,
    /// Nearly all, for bf16: parameter and a remainder of 8 bits are a number of 24 bits, rounded up or
    /// down by a chance as that of [`Stochastic`](Self::Stochastic) (after FlashOptim's 8-bit weight
    /// correction, arXiv:2602.23349). 1 byte more for each element; otherwise as
    /// [`Remainder`](Self::Remainder).
    Remainder8,
}

impl Precision {
    /// Bytes that the engine keeps beside each element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Precision::Nearest | Precision::Stochastic => 0,
            Precision::Master => 4,
            Precision::Remainder => 2,
            Precision::Remainder8 => 1,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::Nearest => "rounding to nearest",
            Precision::Stochastic => "stochastic rounding",
            Precision::Master => "an f32 master copy",
            Precision::Remainder => "a 16-bit remainder",
            Precision::Remainder8 => "an 8-bit remainder",
        })
    }
}

/// The format of optimizer state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateFormat {
    /// f32.
    #[default]
    F32,
    /// bf16 with stochastic rounding: half the memory. Moments change by less than half of their last
    /// bit in most steps, which rounding to nearest would lose.
    Bf16,
    /// Eight bits: blocks of 256 elements with a dynamic code for each and one f32 for the block
    /// (Dettmers et al., *8-bit Optimizers via Block-wise Quantization*, 2022). 2.03 bytes instead of 8 for
    /// the two moments of Adam. First moments have bitsandbytes' signed code book, second moments its
    /// unsigned one; parameters are updated from the moments before these are rounded.
    ///
    /// Codes are the nearest, ties to the larger magnitude. A negative value never becomes 0, and
    /// neither does a second moment above 0: bitsandbytes rounds that to 0, and its next update is
    /// m / eps. If a moment is infinite or NaN, so is its whole block afterwards: look for overflow
    /// ([`Options::skip_non_finite`](crate::Options::skip_non_finite)) to skip such steps.
    Int8,
    /// Four bits: blocks of 128 elements with torchao's maps (Li et al., *Memory Efficient Optimizers
    /// with 4-bit States*, 2023), one f32 for the block. 1.06 bytes for the two moments of Adam. Codes
    /// are the nearest, ties to the larger magnitude.
    Int4,
    /// fp8: blocks of 256 elements with an e4m3 number each, and one f32 that brings the block's
    /// largest magnitude to 448, as torchao's `OptimStateFp8`. 2.03 bytes for the two moments of Adam. Codes
    /// are the nearest, ties to the even one; a second moment above 0 never becomes 0.
    Fp8,
    /// Eight companded bits: blocks of 32 elements with an integer each and one bf16 for the block; first
    /// moments through 2x / (1 + |x|), second moments by their square roots (FlashOptim,
    /// arXiv:2602.23349, which keeps an f16 for the block). 2.13 bytes for the two moments of Adam. A second
    /// moment above 0 never becomes 0.
    Companded,
}

impl StateFormat {
    /// Whether it keeps codes and scales of blocks.
    pub(crate) const fn has_blocks(self) -> bool {
        !matches!(self, StateFormat::F32 | StateFormat::Bf16)
    }

    /// Bytes of a tensor of this length in whole tiles of 256 elements: what a
    /// [`Quantizer`](crate::Quantizer) writes.
    #[must_use]
    pub const fn blocks_size_bytes(self, len_elems: u64) -> u64 {
        len_elems.div_ceil(TILE_ELEMS).saturating_mul(self.tile_bytes())
    }

    /// Bytes of a tile of 256 elements in one slot.
    pub(crate) const fn tile_bytes(self) -> u64 {
        match self {
            StateFormat::F32 => 4 * TILE_ELEMS,
            StateFormat::Bf16 => 2 * TILE_ELEMS,
            StateFormat::Int8 | StateFormat::Fp8 => TILE_ELEMS + 4,
            StateFormat::Int4 => TILE_ELEMS / 2 + 2 * 4,
            StateFormat::Companded => TILE_ELEMS + 8 * 2,
        }
    }

    /// Bytes of a tensor of this length in one slot, without padding that nothing needs.
    #[must_use]
    pub const fn size_bytes(self, len_elems: u64) -> u64 {
        match self {
            StateFormat::F32 => len_elems.saturating_mul(4),
            StateFormat::Bf16 => len_elems.saturating_mul(2),
            _ => self.blocks_size_bytes(len_elems),
        }
    }
}

impl std::fmt::Display for StateFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StateFormat::F32 => "f32",
            StateFormat::Bf16 => "bf16",
            StateFormat::Int8 => "int8",
            StateFormat::Int4 => "int4",
            StateFormat::Fp8 => "fp8",
            StateFormat::Companded => "companded",
        })
    }
}

/// The formats that make one kernel differ from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Formats {
    pub(crate) param: Dtype,
    pub(crate) grad: Dtype,
    pub(crate) precision: Precision,
    pub(crate) state: StateFormat,
}

/// A tensor as its owner describes it: name, shape, format, group.
///
/// ```
/// use fallline::{Dtype, Precision, StateFormat, TensorSpec};
///
/// let tensors = [
///     TensorSpec::new("weight", [4096, 1024]).dtype(Dtype::Bf16).precision(Precision::Remainder),
///     TensorSpec::new("embedding", [50257, 1024]).in_group("embeddings").state(StateFormat::F32),
/// ];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// A name that no other tensor of the optimizer has.
    pub name: String,
    /// The shape; empty for a scalar. A dimension may be 0.
    pub shape: Vec<usize>,
    /// The format of the parameter.
    pub dtype: Dtype,
    /// The format of the gradient.
    pub grad_dtype: Dtype,
    /// How a parameter of 16 bits is kept.
    pub precision: Precision,
    /// The format of its state, whatever its length; `None`: the [group's](crate::Group::state).
    pub state: Option<StateFormat>,
    /// The name of its group; `None`: the first group.
    pub group: Option<String>,
    /// The tensor that it is a piece of, if it is one.
    pub whole: Option<Whole>,
}

/// The tensor that another is a piece of: what a shard of an optimizer must know of it, so that all shards
/// together give the bits of an optimizer over whole tensors.
///
/// Stochastic rounding, the format of the state and the rows of a norm go by the whole. The pieces of a
/// tensor are whole spans of 256 elements, but for the last; if they begin at multiples of 16,384, norms too
/// have the whole's sums. What a rule looks at is the piece: of today's rules none looks at more than an
/// element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whole {
    /// The whole tensor's number in stochastic rounding: its place among all whole tensors.
    pub number: u32,
    /// Its number of elements.
    pub len_elems: u64,
    /// Where the piece begins in it: a multiple of 256.
    pub first_elem: u64,
}

impl TensorSpec {
    /// An f32 tensor in the first group.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype: Dtype::F32,
            grad_dtype: Dtype::F32,
            precision: Precision::Nearest,
            state: None,
            group: None,
            whole: None,
        }
    }

    /// A piece of a larger tensor; the shape is the piece's.
    #[must_use]
    pub fn piece_of(mut self, whole: Whole) -> Self {
        self.whole = Some(whole);
        self
    }

    /// Elements of the tensor that it is a piece of, or its own; checked against `len_elems`, which are its
    /// own.
    pub(crate) fn whole_len_elems(&self, len_elems: u64) -> Result<u64> {
        let Some(Whole { len_elems: whole, first_elem, .. }) = self.whole else {
            return Ok(len_elems);
        };
        let end = first_elem.checked_add(len_elems);
        let expected = if !first_elem.is_multiple_of(TILE_ELEMS) {
            "begin at a multiple of 256 elements"
        } else if end.is_none_or(|end| end > whole) {
            "end within its whole"
        } else if !len_elems.is_multiple_of(TILE_ELEMS) && end != Some(whole) {
            "be a multiple of 256 elements long, or end with its whole"
        } else {
            return Ok(whole);
        };
        let (tensor, end) = (self.name.clone(), first_elem.saturating_add(len_elems));
        Err(Error::Piece { tensor, expected, first_elem, end_elem: end, whole_len_elems: whole })
    }

    /// The format of parameter and gradient.
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self.grad_dtype = dtype;
        self
    }

    /// The format of the gradient, where it is not the parameter's.
    #[must_use]
    pub fn grad_dtype(mut self, dtype: Dtype) -> Self {
        self.grad_dtype = dtype;
        self
    }

    /// How a parameter of 16 bits is kept.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The format of its state, instead of the group's: to pin an embedding to f32, say.
    #[must_use]
    pub fn state(mut self, state: StateFormat) -> Self {
        self.state = Some(state);
        self
    }

    /// Puts the tensor into a group.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The number of elements: the product of the shape, 1 for a scalar.
    ///
    /// # Errors
    /// [`Error::ShapeOverflow`] if the bytes do not fit into 63 bits.
    pub fn len_elems(&self) -> Result<u64> {
        let elems = if self.shape.contains(&0) {
            Some(0)
        } else {
            self.shape.iter().try_fold(1u64, |len, &dim| len.checked_mul(dim as u64))
        };
        elems.filter(|len| *len <= i64::MAX as u64 / 16).ok_or_else(|| Error::ShapeOverflow {
            tensor: self.name.clone(),
            shape: self.shape.clone(),
        })
    }

    /// The formats, if they go together, beside state in this one.
    pub(crate) fn formats(&self, state: StateFormat) -> Result<Formats> {
        let Self { dtype: param, grad_dtype: grad, precision, .. } = *self;
        let fits = match precision {
            Precision::Nearest => true,
            Precision::Stochastic | Precision::Master => param != Dtype::F32,
            Precision::Remainder | Precision::Remainder8 => param == Dtype::Bf16,
        };
        if !fits {
            let expected = match precision {
                Precision::Remainder | Precision::Remainder8 => "bf16",
                _ => "f16 or bf16",
            };
            let tensor = self.name.clone();
            return Err(Error::Precision { tensor, precision, expected, found: param });
        }
        Ok(Formats { param, grad, precision, state })
    }
}

/// A tensor of an optimizer: its place in the order in which the tensors were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub(crate) usize);

impl TensorId {
    /// The id of the tensor that was given as number `index`, counted from 0.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A range of a buffer of the caller's: `len_elems` elements from byte `offset` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferRange {
    /// The buffer; it needs the usage STORAGE.
    pub buffer: wgpu::Buffer,
    /// The first byte, a multiple of four elements' bytes: 16 for f32, 8 for f16 and bf16.
    pub offset: u64,
    /// The number of elements; must be the tensor's.
    pub len_elems: u64,
}

impl BufferRange {
    /// A range of a buffer.
    #[must_use]
    pub fn new(buffer: &wgpu::Buffer, offset: u64, len_elems: u64) -> Self {
        Self { buffer: buffer.clone(), offset, len_elems }
    }
}

/// Where tensors lie in one step: see [`Optimizer::encode_step_at`](crate::Optimizer::encode_step_at).
///
/// ```no_run
/// use fallline::{BufferRange, Optimizer, Places, Step, wgpu};
///
/// /// One step, with the gradients where the runtime has allocated them this time.
/// fn step(
///     optimizer: &mut Optimizer,
///     encoder: &mut wgpu::CommandEncoder,
///     weight_grad: &wgpu::Buffer,
/// ) -> fallline::Result<()> {
///     let grads = [
///         Some(BufferRange::new(weight_grad, 0, 784 * 128)),
///         None, // the second tensor has none
///     ];
///     optimizer.encode_step_at(encoder, &Step::lr(1e-3), &Places::of_grads(&grads))
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Where each parameter lies, in the tensors' order; `None`: all lie where they did.
    pub params: Option<&'a [BufferRange]>,
    /// Where each gradient lies, in the tensors' order; `None` for one without gradient in this step.
    pub grads: &'a [Option<BufferRange>],
}

impl<'a> Places<'a> {
    /// Parameters where they were, and gradients here.
    #[must_use]
    pub const fn of_grads(grads: &'a [Option<BufferRange>]) -> Self {
        Self { params: None, grads }
    }
}

/// A tensor whose parameter and gradient lie in buffers of the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BorrowedTensor {
    /// Name, shape, formats, group.
    pub spec: TensorSpec,
    /// Where the parameter lies.
    pub param: BufferRange,
    /// Where the gradient lies; it may be the same buffer. `None`: there is none yet.
    pub grad: Option<BufferRange>,
}
