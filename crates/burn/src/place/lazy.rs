//! With fusion: a tensor is a number, which stands for a handle of CubeCL's once it has been computed.
//!
//! Handles are asked for by an operation of our own in Burn's stream, all at once: what is queued before it has been
//! executed then.

use std::{
    slice::from_ref,
    sync::{Arc, Mutex, PoisonError},
};

use burn::backend::{
    TensorMetadata,
    fusion::{
        ExecutionError, FusionRuntime, FusionTensor,
        custom::{
            CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorId, TensorIr,
        },
    },
};
use burn_cubecl::{CubeBackend, fusion::FusionCubeRuntime, tensor::CubeTensor};

use super::{Place, contiguous, is_read, places};
use crate::{Error, Result};

pub(super) type Primitive = FusionTensor<FusionCubeRuntime>;
pub(super) type Id = TensorId;
type Handles = HandleContainer<<FusionCubeRuntime as FusionRuntime>::FusionHandle>;

pub(super) fn shape(tensor: &Primitive) -> &[usize] {
    &tensor.shape
}

pub(super) fn id(tensor: &Primitive) -> Id {
    tensor.id
}

/// The tensor to be written, on this thread's stream, and with `keep_clones` not seen by anybody else on this thread.
/// Those of other threads are known when it is located.
pub(super) fn own(tensor: Primitive, keep_clones: bool) -> Primitive {
    let stream = StreamId::current();
    // On another stream a clone is a view with a number of its own.
    let tensor = if tensor.stream == stream { tensor } else { tensor.clone() };
    if !keep_clones || tensor.can_mut() {
        return tensor;
    }
    let (client, shape, dtype) = (tensor.client.clone(), tensor.shape.clone(), tensor.dtype);
    let output = TensorIr::uninit(client.create_empty_handle(), shape, dtype);
    let input = tensor.into_ir();
    let ir = CustomOpIr::new("fallline copy", from_ref(&input), from_ref(&output));
    let copy = Copy { input, output };
    let mut outputs = client.register(stream, OperationIr::Custom(ir), copy);
    outputs.remove(0)
}

pub(super) fn locate(written: Vec<Primitive>, read: Vec<Primitive>) -> Result<Vec<Place>> {
    let Some(client) = written.iter().chain(&read).next().map(|tensor| tensor.client.clone())
    else {
        return Ok(Vec::new());
    };
    // Burn's fusion walks all that an operation declares. Parameters live on and need not be declared, unless this is
    // the last that is heard of one.
    let mut inputs: Vec<TensorIr> = Vec::with_capacity(read.len());
    let mut written_irs = Vec::with_capacity(written.len());
    for tensor in written {
        let is_last = tensor.can_mut();
        let ir = tensor.into_ir();
        inputs.extend(is_last.then(|| ir.clone()));
        written_irs.push(ir);
    }
    let written = written_irs;
    let read: Vec<TensorIr> = read.into_iter().map(Primitive::into_ir).collect();
    inputs.extend_from_slice(&read);
    let found = Arc::default();
    let ir = CustomOpIr::new("fallline locate", &inputs, &[]);
    let locate = Locate { written, read, found: Arc::clone(&found) };
    let drain = || {
        let drained = client.try_sync(|| ());
        drained.map_err(|error| Error::Burn { reason: format!("{error:?}") })
    };
    // Alone in the queue: whatever the order in which Burn executes that, it is executed before.
    drain()?;
    client.register(StreamId::current(), OperationIr::Custom(ir), locate);
    drain()?;
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Burn leaves out what reads a tensor that failed.
    found.unwrap_or_else(|| Err(has_failed()))
}

fn has_failed() -> Error {
    Error::Burn { reason: "what computes a parameter or gradient has failed".into() }
}

/// A copy of a tensor.
#[derive(Debug)]
struct Copy {
    input: TensorIr,
    output: TensorIr,
}

impl Operation<FusionCubeRuntime> for Copy {
    fn execute(&self, handles: &mut Handles) -> Result<(), ExecutionError> {
        let tensor = handles.get_float_tensor::<CubeBackend>(&self.input);
        handles.register_float_tensor::<CubeBackend>(&self.output.id, copied(tensor));
        Ok(())
    }
}

/// Finds out where tensors lie.
#[derive(Debug)]
struct Locate {
    written: Vec<TensorIr>,
    read: Vec<TensorIr>,
    found: Arc<Mutex<Option<Result<Vec<Place>>>>>,
}

impl Locate {
    fn places(&self, handles: &mut Handles) -> Result<Vec<Place>> {
        let mut tensors = Vec::with_capacity(self.written.len() + self.read.len());
        for ir in &self.written {
            let held = &handles.get_handle_ref(&ir.id).ok_or_else(has_failed)?.handle;
            // Other handles are views of other threads, whose work may be queued where it cannot be seen from here.
            // They keep the old memory.
            let is_ours = held.can_mut() && !is_read(held);
            let mut tensor = handles.get_float_tensor::<CubeBackend>(ir);
            if !is_ours || !tensor.is_contiguous() {
                tensor = copied(tensor);
                handles.register_float_tensor::<CubeBackend>(&ir.id, tensor.clone());
            }
            tensors.push(tensor);
        }
        for ir in &self.read {
            tensors.push(contiguous(handles.get_float_tensor::<CubeBackend>(ir)));
        }
        places(&tensors)
    }
}

impl Operation<FusionCubeRuntime> for Locate {
    fn execute(&self, handles: &mut Handles) -> Result<(), ExecutionError> {
        let found = self.places(handles);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(())
    }
}

/// The tensor in memory of its own, with its elements one after the other.
fn copied(tensor: CubeTensor) -> CubeTensor {
    if tensor.is_contiguous() { tensor.copy() } else { contiguous(tensor) }
}
