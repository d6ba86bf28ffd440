use std::sync::Arc;

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::{linear::LinearLrSchedulerConfig, module_lr_scheduler::ModuleLearningRate},
    module::Module,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
    train::{
        InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep,
        logger::InMemoryMetricLogger, metric::LossMetric,
    },
};

use crate::common::{Net, adamw, copied, device, difference, floats, fused};

/// A net that steps with fallline, whatever its optimizer.
#[derive(Module, Debug)]
struct Fast {
    net: Net,
}

/// And one that steps as Burn does.
#[derive(Module, Debug)]
struct Plain {
    net: Net,
}

#[derive(Clone, Debug)]
struct Batch {
    x: Tensor<2>,
}

struct ToBatch;

impl Batcher<f32, Batch> for ToBatch {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Batch {
        let x = Tensor::<1>::from_floats(items.as_slice(), device);
        Batch { x: x.mean().reshape([1, 1]).expand([67, 131]) }
    }
}

fn regression(net: &Net, Batch { x }: Batch) -> RegressionOutput {
    let (output, targets) = (net.forward(x.clone()), (x * 1.5).sin());
    let loss = (output.clone() - targets.clone()).square().mean();
    RegressionOutput::new(loss, output, targets)
}

fn output<M: Module>(module: &M, net: &Net, batch: Batch) -> TrainOutput<RegressionOutput> {
    let output = regression(net, batch);
    TrainOutput::new(module, output.loss.clone().backward(), output)
}

impl TrainStep for Fast {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        output(self, &self.net, batch)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        fallline_burn::step(optim, lr, self, grads)
    }
}

impl TrainStep for Plain {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        output(self, &self.net, batch)
    }
}

impl InferenceStep for Fast {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        regression(&self.net, batch)
    }
}

impl InferenceStep for Plain {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        regression(&self.net, batch)
    }
}

fn loader() -> Arc<dyn DataLoader<Batch>> {
    let items = (0..12).map(|item| (item as f32 - 5.0) / 6.0).collect();
    DataLoaderBuilder::new(ToBatch)
        .batch_size(2)
        .set_device(device().clone())
        .build(InMemDataset::new(items))
}

/// Two epochs of six steps with a scheduler and checkpoints, and where a checkpoint is given from there on.
fn train<M>(model: M, optim: ModuleOptimizer, folder: &std::path::Path, from: Option<usize>) -> M
where
    M: burn::train::LearnerModel
        + TrainStep<Input = Batch, Output = RegressionOutput>
        + InferenceStep<Input = Batch, Output = RegressionOutput>
        + 'static,
{
    let schedule = LinearLrSchedulerConfig::new(1e-2, 1e-3, 12).init().expect("a schedule");
    let mut training = SupervisedTraining::new(folder, loader(), loader())
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_default_checkpointers()
        .num_epochs(2)
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None);
    if let Some(epoch) = from {
        training = training.checkpoint(epoch);
    }
    training.launch(Learner::new(model, optim, schedule)).model
}

#[test]
fn the_learner_trains_as_with_burns_adamw() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(71);
    let theirs = Plain { net: copied(&net) };
    let twin = copied(&net);
    let burns = AdamWConfig::new().with_weight_decay(0.01).init();
    let theirs = train(theirs, burns, &folder.path().join("theirs"), None);

    let (_fused, optim) = fused(adamw());
    let ours = train(Fast { net: copied(&net) }, optim, &folder.path().join("ours"), None);
    let moved = difference(&net.values(), &theirs.net.values());
    let differs = difference(&ours.net.values(), &theirs.net.values());
    assert!(moved > 1e-3 && differs < 2e-6, "differs by {differs} of {moved}");

    // From the checkpoint of the first epoch on: model, state and scheduler are what they were.
    let (_fused, optim) = fused(adamw());
    let resumed = train(Fast { net: twin }, optim, &folder.path().join("ours"), Some(1));
    assert_eq!(resumed.net.values(), ours.net.values());
}

/// Who forgets the override still trains right, and what needs all tensors is refused.
#[test]
fn the_learner_without_the_override() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(72);
    let (_fused, optim) = fused(adamw());
    let ours = train(Fast { net: copied(&net) }, optim, &folder.path().join("with"), None);
    let (_fused, optim) = fused(adamw());
    let alone = train(Plain { net: copied(&net) }, optim, &folder.path().join("without"), None);
    assert!(difference(&ours.net.values(), &alone.net.values()) < 2e-6);
    assert_ne!(floats(alone.net.gain.val()), floats(net.gain.val()));
}
