//! What a caller says about a tensor.

use crate::{Error, Result};

/// The format of elements in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary32.
    #[default]
    F32,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
        }
    }
}

/// A tensor as its owner describes it: name, shape, format, group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// A name that no other tensor of the optimizer has.
    pub name: String,
    /// The shape; empty for a scalar. A dimension may be 0.
    pub shape: Vec<usize>,
    /// The format of parameter and gradient.
    pub dtype: Dtype,
    /// The name of its group; `None`: the first group.
    pub group: Option<String>,
}

impl TensorSpec {
    /// An f32 tensor in the first group.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into(), dtype: Dtype::F32, group: None }
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
    /// The first byte, a multiple of 16.
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

/// A tensor whose parameter and gradient lie in buffers of the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BorrowedTensor {
    /// Name, shape, group.
    pub spec: TensorSpec,
    /// Where the parameter lies.
    pub param: BufferRange,
    /// Where the gradient lies; it may be the same buffer.
    pub grad: BufferRange,
}
