//! The perceptron's layers, as tensors of an optimizer.

use fallline::{Optimizer, TensorId, TensorSpec};

use super::random::Random;
use crate::precision::Numerics;

/// Groups of the optimizer: weights decay, biases do not.
pub(super) const GROUPS: [&str; 2] = ["weights", "biases"];

/// The widths of a network: pixels, hidden layers, classes. All but the last are multiples of 4,
/// since the kernels load four numbers at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape(pub(super) Vec<u32>);

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&widths.join("-"))
    }
}

impl Shape {
    /// (inputs, outputs) of each layer.
    pub(super) fn layers(&self) -> Vec<(u32, u32)> {
        self.0.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// Weight and bias of each layer, by torch's names, in these formats.
    pub(super) fn tensors(&self, numerics: &Numerics) -> Vec<TensorSpec> {
        let layer = |(layer, (inputs, outputs)): (usize, (u32, u32))| {
            let weight = [outputs as usize, inputs as usize];
            [
                TensorSpec::new(format!("{layer}.weight"), weight).in_group(GROUPS[0]),
                TensorSpec::new(format!("{layer}.bias"), [outputs as usize]).in_group(GROUPS[1]),
            ]
        };
        let layers = self.layers().into_iter().enumerate();
        layers.flat_map(layer).map(|spec| numerics.spec(spec)).collect()
    }

    /// He's uniform initialization: weights within ±sqrt(6 / inputs), biases zero.
    pub(super) fn init(&self, optimizer: &Optimizer, random: &mut Random) -> anyhow::Result<()> {
        for ((inputs, outputs), (weight, _)) in self.layers().into_iter().zip(ids(optimizer)) {
            let bound = (6.0 / inputs as f32).sqrt();
            let values: Vec<f32> =
                (0..inputs * outputs).map(|_| bound * random.signed_unit()).collect();
            optimizer.write_param(weight, &values)?;
        }
        Ok(())
    }
}

/// Weight and bias of each layer of an optimizer over [`Shape::tensors`].
pub(super) fn ids(optimizer: &Optimizer) -> Vec<(TensorId, TensorId)> {
    let ids: Vec<TensorId> = optimizer.tensors().map(|(id, _)| id).collect();
    ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}
