//! Without fusion: a tensor is a handle of CubeCL's.

use burn_cubecl::tensor::CubeTensor;

use super::{Place, contiguous, is_read, places};
use crate::Result;

pub(super) type Primitive = CubeTensor;
/// Of its memory; the type of that has no public name.
pub(super) type Id = String;

pub(super) fn shape(tensor: &Primitive) -> &[usize] {
    tensor.meta.shape()
}

pub(super) fn id(tensor: &Primitive) -> Id {
    format!("{:?}", tensor.handle.clone().binding().memory.id())
}

/// The tensor to be written, contiguous, and with `keep_clones` not seen by anybody else.
pub(super) fn own(tensor: Primitive, keep_clones: bool) -> Primitive {
    if is_read(&tensor.handle) {
        // By kernels that are on their way to the device's thread, perhaps: they are there behind this.
        let _ = tensor.client.exclusive(|| ());
    }
    let is_kept = is_read(&tensor.handle) || keep_clones && !tensor.handle.can_mut();
    match (tensor.is_contiguous(), is_kept) {
        (true, false) => tensor,
        (true, true) => tensor.copy(),
        (false, _) => contiguous(tensor),
    }
}

pub(super) fn locate(written: Vec<Primitive>, read: Vec<Primitive>) -> Result<Vec<Place>> {
    let read = read.into_iter().map(contiguous);
    let tensors: Vec<CubeTensor> = written.into_iter().chain(read).collect();
    places(&tensors)
}
