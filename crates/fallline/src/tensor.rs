//! What a caller says about a tensor.

use crate::{Dtype, Error, Precision, Result, StateFormat, formats::Formats, layout::TILE_ELEMS};

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
/// have the whole's sums. What a rule looks at beyond an element ([`Scope`](crate::Scope), rows and columns) is
/// what this optimizer has of it.
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
        let expected = precision.dtypes();
        if !expected.contains(&param) {
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
