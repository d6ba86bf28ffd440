//! Parameters without a model around them.

use burn::{
    module::{Module, ModuleMapper, Param},
    nn::Initializer,
    optim::GradientsParams,
    tensor::{Device, Distribution, Tensor},
};

pub(crate) const NAMES: [&str; 4] = ["mlp4", "gpt148", "small1000", "big1"];

#[derive(Module, Debug)]
pub(crate) struct Stack {
    matrices: Vec<Param<Tensor<2>>>,
    vectors: Vec<Param<Tensor<1>>>,
}

impl Stack {
    pub(crate) fn tensors(&self) -> usize {
        self.matrices.len() + self.vectors.len()
    }

    pub(crate) fn device(&self) -> Device {
        self.matrices[0].val().device()
    }

    /// New gradients in new memory.
    pub(crate) fn grads(&self, step: usize) -> GradientsParams {
        let mut grads = GradientsParams::new();
        let factor = 0.1 + 0.01 * step as f32;
        for matrix in &self.matrices {
            grads.register(matrix.id, matrix.base().inner() * factor);
        }
        for vector in &self.vectors {
            grads.register(vector.id, vector.base().inner() * factor);
        }
        grads
    }
}

fn shapes(name: &str) -> (Vec<[usize; 2]>, Vec<usize>) {
    match name {
        "mlp4" => (vec![[784, 256], [256, 10]], vec![256, 10]),
        // GPT-2's shapes at a width of 192.
        "gpt148" => {
            let d = 192;
            let (mut matrices, mut vectors) = (vec![[8192, d], [1024, d]], vec![d, d]);
            for _ in 0..12 {
                matrices.extend([[d, 3 * d], [d, d], [d, 4 * d], [4 * d, d]]);
                vectors.extend([d, d, 3 * d, d, d, d, 4 * d, d]);
            }
            (matrices, vectors)
        }
        "small1000" => (vec![[32, 32]; 1000], vec![]),
        _ => (vec![[4096, 2048]], vec![]),
    }
}

pub(crate) fn stack(name: &str, device: &Device, as_layers: bool) -> Stack {
    let (matrices, vectors) = shapes(name);
    let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
    if as_layers {
        return Stack {
            matrices: matrices.into_iter().map(|shape| normal.init(shape, device)).collect(),
            vectors: vectors.into_iter().map(|len| normal.init([len], device)).collect(),
        };
    }
    let normal = Distribution::Normal(0.0, 0.02);
    let matrix = |shape| Param::from_tensor(Tensor::random(shape, normal, device));
    let vector = |len| Param::from_tensor(Tensor::random([len], normal, device));
    Stack {
        matrices: matrices.into_iter().map(matrix).collect(),
        vectors: vectors.into_iter().map(vector).collect(),
    }
}

/// The same values in memory of their own.
pub(crate) fn copied(stack: &Stack) -> Stack {
    struct Copy;
    impl ModuleMapper for Copy {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let copy = Tensor::from_inner(tensor.inner() * 1.0).require_grad();
            Param::from_mapped_value(id, copy, mapper)
        }
    }
    stack.clone().map(&mut Copy)
}
