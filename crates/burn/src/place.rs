//! Where tensors of Burn's lie on the GPU. The only file that knows CubeCL and Burn's fusion.

use std::any::Any;

use burn::backend::Cube;
use burn::tensor::{DType, Tensor};
use burn_cubecl::{kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{
    server::Handle,
    wgpu::{AutoCompiler, WgpuServer},
};
use fallline::{BufferRange, Dtype};

use crate::{Error, Result};

#[cfg(feature = "fusion")]
mod lazy;
#[cfg(feature = "fusion")]
use lazy as kind;

#[cfg(not(feature = "fusion"))]
mod eager;
#[cfg(not(feature = "fusion"))]
use eager as kind;

/// A tensor of Burn's that a step reads or writes. It may not have been computed yet.
#[derive(Debug)]
pub(crate) struct Lent(kind::Primitive);

/// A tensor as long as it lives: what Burn calls the same, however often it is cloned on a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity(kind::Id);

/// What keeps an allocation where it is, and from being given to others.
pub(crate) struct Pin(#[allow(dead_code, reason = "held, not looked at")] Box<dyn Any + Send>);

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// Where a tensor lies for as long as the pin is held.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) range: BufferRange,
    pub(crate) pin: Pin,
}

impl Lent {
    /// A tensor that is read.
    pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        primitive(tensor).map(Self)
    }

    /// A tensor that is written in place; it comes back as a tensor that sees what is written. With `keep_clones` it is
    /// a copy if anything else would see it too.
    pub(crate) fn write<const D: usize>(
        tensor: Tensor<D>,
        keep_clones: bool,
    ) -> (Tensor<D>, Result<Self>) {
        let spare = tensor.clone();
        match primitive(tensor) {
            Err(error) => (spare, Err(error)),
            Ok(primitive) => {
                drop(spare);
                let own = kind::own(primitive, keep_clones);
                (Tensor::from_primitive::<Cube>(own.clone()), Ok(Self(own)))
            }
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        kind::shape(&self.0)
    }

    /// Its format, as the engine has it.
    pub(crate) fn dtype(&self) -> Result<Dtype> {
        match self.0.dtype {
            DType::F32 => Ok(Dtype::F32),
            DType::F16 => Ok(Dtype::F16),
            DType::BF16 => Ok(Dtype::Bf16),
            found => Err(Error::Dtype { found }),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity(kind::id(&self.0))
    }
}

/// What a tensor is called within its lifetime.
pub(crate) fn identity<const D: usize>(tensor: Tensor<D>) -> Result<Identity> {
    Lent::read(tensor).map(|lent| lent.identity())
}

/// Where these tensors lie, first those that are written. Whatever Burn has queued that makes them, or reads what is
/// written, has been submitted when this returns, so that what is submitted next comes behind it.
pub(crate) fn locate(written: Vec<Lent>, read: Vec<Lent>) -> Result<Vec<Place>> {
    if written.is_empty() && read.is_empty() {
        return Ok(Vec::new());
    }
    let primitives = |lents: Vec<Lent>| lents.into_iter().map(|lent| lent.0).collect();
    kind::locate(primitives(written), primitives(read))
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> Result<kind::Primitive> {
    let primitive = tensor.try_into_primitive::<Cube>();
    primitive.map_err(|error| Error::NotWgpu { reason: format!("{error:?}") })
}

/// Where tensors lie that have been computed, or will be by what is queued.
///
/// Work that is queued on this thread's stream of CubeCL's, or on the one that a tensor was made on, is submitted by that.
fn places(tensors: &[CubeTensor]) -> Result<Vec<Place>> {
    let Some(client) = tensors.first().map(|tensor| tensor.client.clone()) else {
        return Ok(Vec::new());
    };
    // All in one turn of the device's thread: otherwise each waits for a turn of its own.
    let located = client.exclusive(|| tensors.iter().map(place).collect());
    located.map_err(|error| Error::Burn { reason: error.to_string() })?
}

fn place(tensor: &CubeTensor) -> Result<Place> {
    type Server = WgpuServer<AutoCompiler>;
    let managed = tensor.client.get_resource::<Server>(tensor.handle.clone());
    let managed = managed.map_err(|error| Error::Burn { reason: error.to_string() })?;
    let resource = managed.resource();
    let len_elems = tensor.meta.shape().iter().map(|&dim| dim as u64).product();
    let range = BufferRange::new(&resource.buffer, resource.offset, len_elems);
    Ok(Place { range, pin: Pin(Box::new(managed)) })
}

/// Whether somebody is yet to read the memory: data that Burn has given out is read from it when it is first looked at,
/// and kernels of other threads may wait in queues of their own. (A pin of ours counts too.)
fn is_read(handle: &Handle) -> bool {
    handle.memory.is_bound()
}

/// The tensor with its elements one after the other.
fn contiguous(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}
