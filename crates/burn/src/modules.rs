//! What is to be known of a module, and done to one, beside Burn's own walk.

use std::{any::Any, collections::HashMap, sync::atomic::Ordering};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use fallline::wgpu;

use crate::{
    Error, Result,
    engine::Engine,
    fused::Shared,
    place::{self, Lent},
};

/// Gives slots the names of their parameters; finds parameters that a module holds twice.
pub(crate) fn name<M: Module>(shared: &Shared, module: &M) {
    struct Namer<'a> {
        engine: &'a mut Engine,
        path: Vec<String>,
        seen: HashMap<ParamId, ()>,
        is_tied: bool,
    }
    impl ModuleVisitor for Namer<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.is_tied |= self.seen.insert(param.id, ()).is_some();
            if let Ok(identity) = place::identity(untracked(param.base())) {
                self.engine.name(param.id, &self.path.join("."), &identity);
            }
        }
    }
    let mut engine = shared.engine();
    let (path, seen) = Default::default();
    let mut namer = Namer { engine: &mut engine, path, seen, is_tied: false };
    module.visit(&mut namer);
    shared.is_tied.fetch_or(namer.is_tied, Ordering::Relaxed);
}

/// Lets a parameter that a module holds twice be the same tensor again: Burn's walk steps the first alone.
pub(crate) fn tie<M: Module>(module: M) -> M {
    #[derive(Default)]
    struct Tie(HashMap<ParamId, Box<dyn Any>>);
    impl ModuleMapper for Tie {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let first = self.0.get(&id).and_then(|first| first.downcast_ref::<Tensor<D>>());
            let tensor = first.cloned().unwrap_or(tensor);
            self.0.insert(id, Box::new(tensor.clone()));
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    module.map(&mut Tie::default())
}

/// The module with what is to be evaluated in the place of its parameters.
pub(crate) fn evaluated<M: Module>(engine: &Engine, module: &M) -> Result<M> {
    struct Evaluate<'a> {
        engine: &'a Engine,
        found: bool,
        error: Option<Error>,
    }
    impl Evaluate<'_> {
        /// What a parameter is to be evaluated at, if it has taken a step.
        fn values(&self, id: ParamId) -> Result<Option<Vec<f32>>> {
            let slot = self.engine.slot_of(id).and_then(|slot| slot.id);
            let known = slot.zip(self.engine.optimizer());
            Ok(known.map(|(id, optimizer)| optimizer.read_eval(id)).transpose()?)
        }
    }
    impl ModuleMapper for Evaluate<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let values = match self.values(id) {
                Ok(values) => values,
                Err(error) => {
                    self.error.get_or_insert(error);
                    None
                }
            };
            let Some(values) = values else {
                return Param::from_mapped_value(id, tensor, mapper);
            };
            self.found = true;
            let data = TensorData::new(values, tensor.shape()).convert_dtype(tensor.dtype());
            let requires_grad = tensor.is_require_grad();
            let evaluated = Tensor::from_data(data, &tensor.device());
            Param::from_mapped_value(id, evaluated.set_require_grad(requires_grad), mapper)
        }
    }
    let mut evaluate = Evaluate { engine, found: false, error: None };
    let module = module.clone().map(&mut evaluate);
    match evaluate {
        Evaluate { error: Some(error), .. } => Err(error),
        Evaluate { found: false, .. } => Err(Error::NotStepped),
        Evaluate { .. } => Ok(module),
    }
}

/// The loss scale as a tensor of Burn's, copied there on the GPU.
pub(crate) fn loss_scale(engine: &Engine, device: &Device) -> Result<Tensor<1>> {
    let tensor = Tensor::<1>::ones([1], device);
    let Some(scaler) = &engine.options().loss_scaler else { return Ok(tensor) };
    let written = Lent::write(untracked(tensor.clone()), false).1?;
    let gpu = engine.gpu();
    for place in place::locate(vec![written], Vec::new())? {
        gpu.checked("loss scale", || {
            let label = Some("fallline-burn loss scale");
            let descriptor = wgpu::CommandEncoderDescriptor { label };
            let mut encoder = gpu.device().create_command_encoder(&descriptor);
            let (to, offset) = (&place.range.buffer, place.range.offset);
            encoder.copy_buffer_to_buffer(scaler.buffer(), 0, to, offset, 4);
            gpu.queue().submit([encoder.finish()]);
        })?;
    }
    Ok(tensor)
}

/// The tensor without what autodiff knows of it.
fn untracked<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}
