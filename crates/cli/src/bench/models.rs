//! The parameter tensors of real models, in the order in which their frameworks list them.

use clap::ValueEnum;
use fallline::TensorSpec;

/// A model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// GPT-2 small, as Hugging Face's `gpt2`: 148 tensors, 124 M parameters
    #[value(name = "gpt2-small")]
    Gpt2Small,
    /// ResNet-50 of torchvision: 161 tensors, 25.6 M parameters
    #[value(name = "resnet50")]
    Resnet50,
    /// Vision transformer `vit_b_16` of torchvision: 152 tensors, 86.6 M parameters
    #[value(name = "vit-b16")]
    VitB16,
    /// 1,000 tensors of 128 x 128: what does the number of tensors cost?
    ManySmall,
    /// One tensor with as many elements as many-small has
    OneBig,
}

impl Model {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Model::Gpt2Small => "gpt2-small",
            Model::Resnet50 => "resnet50",
            Model::VitB16 => "vit-b16",
            Model::ManySmall => "many-small",
            Model::OneBig => "one-big",
        }
    }

    /// The tensors, with every dimension that grows with the model's width scaled.
    pub(crate) fn tensors(self, width: f64) -> Vec<TensorSpec> {
        let mut list = List { tensors: Vec::new(), width };
        match self {
            Model::Gpt2Small => gpt2_small(&mut list),
            Model::Resnet50 => resnet50(&mut list),
            Model::VitB16 => vit_b16(&mut list),
            Model::ManySmall => {
                let side = list.scaled(128);
                (0..1000).for_each(|i| list.add(&format!("tensor{i}"), [side, side]));
            }
            Model::OneBig => {
                let side = list.scaled(128);
                list.add("tensor", [1000 * side, side]);
            }
        }
        list.tensors
    }
}

struct List {
    tensors: Vec<TensorSpec>,
    width: f64,
}

impl List {
    /// A dimension that grows with the width.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a dimension of a known model, made smaller and rounded"
    )]
    fn scaled(&self, dimension: u32) -> usize {
        ((f64::from(dimension) * self.width).round() as usize).max(1)
    }

    fn add(&mut self, name: &str, shape: impl Into<Vec<usize>>) {
        self.tensors.push(TensorSpec::new(name, shape));
    }

    /// A weight and a bias as long as one of its dimensions.
    fn affine<const N: usize>(&mut self, name: &str, weight: [usize; N], bias: usize) {
        self.add(&format!("{name}.weight"), weight);
        self.add(&format!("{name}.bias"), [bias]);
    }

    /// A normalization layer.
    fn norm(&mut self, name: &str, len: usize) {
        self.affine(name, [len], len);
    }
}

/// Radford et al. 2019. The layer type stores its weights as [input, output]; the output embedding
/// is the input embedding.
fn gpt2_small(list: &mut List) {
    let d = list.scaled(768);
    list.add("wte.weight", [50257, d]);
    list.add("wpe.weight", [1024, d]);
    for layer in 0..12 {
        let name = |part: &str| format!("h.{layer}.{part}");
        list.norm(&name("ln_1"), d);
        list.affine(&name("attn.c_attn"), [d, 3 * d], 3 * d);
        list.affine(&name("attn.c_proj"), [d, d], d);
        list.norm(&name("ln_2"), d);
        list.affine(&name("mlp.c_fc"), [d, 4 * d], 4 * d);
        list.affine(&name("mlp.c_proj"), [4 * d, d], d);
    }
    list.norm("ln_f", d);
}

/// He et al. 2015, bottleneck blocks; the stride lies in the 3 x 3 convolution, which no shape shows.
fn resnet50(list: &mut List) {
    let stem = list.scaled(64);
    list.add("conv1.weight", [stem, 3, 7, 7]);
    list.norm("bn1", stem);
    let mut inputs = stem;
    for (layer, channels, blocks) in [(1, 64, 3), (2, 128, 4), (3, 256, 6), (4, 512, 3)] {
        let inner = list.scaled(channels);
        let outputs = 4 * inner;
        for block in 0..blocks {
            let name = |part: &str| format!("layer{layer}.{block}.{part}");
            list.add(&name("conv1.weight"), [inner, inputs, 1, 1]);
            list.norm(&name("bn1"), inner);
            list.add(&name("conv2.weight"), [inner, inner, 3, 3]);
            list.norm(&name("bn2"), inner);
            list.add(&name("conv3.weight"), [outputs, inner, 1, 1]);
            list.norm(&name("bn3"), outputs);
            if block == 0 {
                list.add(&name("downsample.0.weight"), [outputs, inputs, 1, 1]);
                list.norm(&name("downsample.1"), outputs);
            }
            inputs = outputs;
        }
    }
    list.affine("fc", [1000, inputs], 1000);
}

/// Dosovitskiy et al. 2020, base, 16 x 16 patches of a 224 x 224 image.
fn vit_b16(list: &mut List) {
    let d = list.scaled(768);
    list.add("class_token", [1, 1, d]);
    list.affine("conv_proj", [d, 3, 16, 16], d);
    list.add("encoder.pos_embedding", [1, 197, d]);
    for layer in 0..12 {
        let name = |part: &str| format!("encoder.layers.encoder_layer_{layer}.{part}");
        list.norm(&name("ln_1"), d);
        list.add(&name("self_attention.in_proj_weight"), [3 * d, d]);
        list.add(&name("self_attention.in_proj_bias"), [3 * d]);
        list.affine(&name("self_attention.out_proj"), [d, d], d);
        list.norm(&name("ln_2"), d);
        list.affine(&name("mlp.0"), [4 * d, d], 4 * d);
        list.affine(&name("mlp.3"), [d, 4 * d], d);
    }
    list.norm("encoder.ln", d);
    list.affine("heads.head", [1000, d], 1000);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn params(model: Model, width: f64) -> usize {
        model.tensors(width).iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn models_have_the_tensors_and_parameters_of_the_originals() {
        for (model, tensors, len) in [
            (Model::Gpt2Small, 148, 124_439_808),
            (Model::Resnet50, 161, 25_557_032),
            (Model::VitB16, 152, 86_567_656),
            (Model::ManySmall, 1000, 16_384_000),
            (Model::OneBig, 1, 16_384_000),
        ] {
            let list = model.tensors(1.0);
            let names: HashSet<&String> = list.iter().map(|t| &t.name).collect();
            assert_eq!(list.len(), tensors, "{model:?}");
            assert_eq!(names.len(), tensors, "{model:?}");
            assert_eq!(params(model, 1.0), len, "{model:?}");
        }
    }

    #[test]
    fn width_scales_what_grows_with_the_model_and_nothing_else() {
        let half = Model::Gpt2Small.tensors(0.5);
        assert_eq!(half[0].shape, [50257, 384]);
        assert_eq!(half[4].shape, [384, 1152]);
        assert_eq!(Model::Resnet50.tensors(0.5)[0].shape, [32, 3, 7, 7]);
        assert_eq!(params(Model::ManySmall, 0.25), params(Model::OneBig, 0.25));
        assert_eq!(params(Model::ManySmall, 1e-9), 1000);
    }
}
