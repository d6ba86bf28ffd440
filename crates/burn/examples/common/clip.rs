//! Clipping to a norm of all tensors together, which Burn does not have, by Burn's operations.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

/// PyTorch's `clip_grad_norm_`: gradients times `max_norm` / (norm + 1e-6), if that is below 1.
pub(crate) fn by_norm_of_all<M: Module>(
    module: &M,
    grads: GradientsParams,
    max_norm: f32,
) -> GradientsParams {
    let mut squares = Squares { grads, sum: None };
    module.visit(&mut squares);
    let Squares { grads, sum } = squares;
    let Some(sum) = sum else { return grads };
    let factor = (sum.sqrt() + 1e-6).recip() * max_norm;
    let mut scale = Scale { grads, factor: factor.clamp_max(1.0) };
    module.visit(&mut scale);
    scale.grads
}

struct Squares {
    grads: GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let sum = grad.square().sum();
            self.sum = Some(self.sum.take().map_or(sum.clone(), |so_far| so_far + sum));
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let scaled = grad * self.factor.clone().reshape([1; D]);
            self.grads.register(param.id, scaled);
        }
    }
}
