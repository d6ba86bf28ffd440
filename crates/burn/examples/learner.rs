//! Burn's `Learner` with fallline: the model overrides `TrainStep::optimize`, and everything else is Burn's.
//!
//! `cargo run --example learner [-- FOLDER]` fits sin(3x) by a layer of 64 tanhs, and writes metrics and checkpoints.

use std::sync::Arc;

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig, module_lr_scheduler::ModuleLearningRate,
    },
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Distribution, Tensor},
    train::{
        InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep,
        metric::LossMetric,
    },
};
use fallline_burn::FusedConfig;

const EPOCHS: usize = 8;
const ITEMS: usize = 1024;
const BATCH: usize = 32;

#[derive(Module, Debug)]
struct Curve {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<2>>,
    out: Param<Tensor<2>>,
}

impl Curve {
    fn new(device: &Device) -> Self {
        let random = |range: f64| {
            let uniform = Distribution::Uniform(-range, range);
            Param::from_tensor(Tensor::random([1, 64], uniform, device))
        };
        Self { weight: random(4.0), bias: random(2.0), out: random(0.1) }
    }

    fn regression(&self, Points { x, y }: Points) -> RegressionOutput {
        let hidden = (x * self.weight.val() + self.bias.val()).tanh();
        let output = (hidden * self.out.val()).sum_dim(1);
        let loss = (output.clone() - y.clone()).square().mean();
        RegressionOutput::new(loss, output, y)
    }
}

impl TrainStep for Curve {
    type Input = Points;
    type Output = RegressionOutput;

    fn step(&self, points: Points) -> TrainOutput<RegressionOutput> {
        let output = self.regression(points);
        TrainOutput::new(self, output.loss.clone().backward(), output)
    }

    // The line that makes it a step for the whole model.
    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        fallline_burn::step(optim, lr, self, grads)
    }
}

impl InferenceStep for Curve {
    type Input = Points;
    type Output = RegressionOutput;

    fn step(&self, points: Points) -> RegressionOutput {
        self.regression(points)
    }
}

#[derive(Clone, Debug)]
struct Points {
    x: Tensor<2>,
    y: Tensor<2>,
}

struct ToPoints;

impl Batcher<f32, Points> for ToPoints {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Points {
        let len = items.len();
        let x = Tensor::<1>::from_floats(items.as_slice(), device).reshape([len, 1]);
        Points { y: (x.clone() * 3.0).sin(), x }
    }
}

fn loader(device: &Device) -> Arc<dyn DataLoader<Points>> {
    let items = (0..ITEMS).map(|item| 2.0 * item as f32 / ITEMS as f32 - 1.0).collect();
    DataLoaderBuilder::new(ToPoints)
        .batch_size(BATCH)
        .shuffle(7)
        .set_device(device.clone())
        .build(InMemDataset::new(items))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).map_or_else(
        || std::env::temp_dir().join("fallline-burn-learner"),
        std::path::PathBuf::from,
    );
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let device = device.autodiff();

    // A norm of all tensors together, which Burn does not have.
    let adamw = AdamWConfig::new().with_weight_decay(0.01);
    let fused = FusedConfig::try_from(adamw)?.with_max_norm(1.0).init(&setup)?;
    let optim: ModuleOptimizer = fused.clone().into();
    let steps = EPOCHS * ITEMS / BATCH;
    let schedule = CosineAnnealingLrSchedulerConfig::new(1e-2, steps).init()?;
    let model = Curve::new(&device);
    let trained = SupervisedTraining::new(&folder, loader(&device), loader(&device))
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_default_checkpointers()
        .num_epochs(EPOCHS)
        .launch(Learner::new(model, optim, schedule));

    let points = ToPoints.batch(vec![-1.0, -0.5, 0.0, 0.5, 1.0], &device.inner());
    println!("metrics and checkpoints are in {}", folder.display());
    let found = trained.model.regression(points.clone()).output.into_data();
    println!("{found} and it should be {}", points.y.into_data());
    if let Some(report) = fused.wait_reports()?.last() {
        println!("step {}: norm {}, clipped by {}", report.step, report.norm, report.clip_factor);
    }
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(0);
}
