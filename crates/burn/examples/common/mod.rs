//! What the examples that train beside Burn's own optimizers share: runs from the same weights, and a picture of them.

pub(crate) mod clip;
pub(crate) mod output;

use std::{path::PathBuf, str::FromStr, time::Instant};

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{GradientsParams, LearningRate, ModuleOptimizer},
    tensor::Tensor,
};
use fallline_burn::Fused;

pub(crate) type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A model that is trained by one optimizer.
pub(crate) struct Run<M> {
    pub(crate) name: &'static str,
    pub(crate) model: M,
    pub(crate) losses: Vec<f64>,
    /// The run of Burn's that it should follow.
    pub(crate) beside: Option<usize>,
    optim: ModuleOptimizer,
    stepper: Stepper,
    /// Seconds for loss and gradients, and for steps; without those of the first step, which builds kernels.
    model_took: f64,
    step_took: f64,
}

enum Stepper {
    Burns { max_norm: Option<f32> },
    Fused(Fused),
}

impl<M: Module> Run<M> {
    /// With one of Burn's optimizers. It does not clip all tensors together, so Burn's operations do that before.
    pub(crate) fn burns(
        name: &'static str,
        model: &M,
        optim: ModuleOptimizer,
        max_norm: Option<f32>,
    ) -> Self {
        Self::new(name, model, optim, Stepper::Burns { max_norm })
    }

    pub(crate) fn fused(name: &'static str, model: &M, fused: Fused) -> Self {
        Self::new(name, model, fused.clone().into(), Stepper::Fused(fused))
    }

    fn new(name: &'static str, model: &M, optim: ModuleOptimizer, stepper: Stepper) -> Self {
        // What a clone shares, a step in place would change for both.
        let (model, losses) = (copied(model), Vec::new());
        Self { name, model, losses, beside: None, optim, stepper, model_took: 0.0, step_took: 0.0 }
    }

    pub(crate) fn beside(mut self, run: usize) -> Self {
        self.beside = Some(run);
        self
    }

    /// One step of training.
    pub(crate) fn step(
        mut self,
        lr: LearningRate,
        loss: impl FnOnce(&M) -> Tensor<1>,
    ) -> Result<Self> {
        let start = Instant::now();
        let loss = loss(&self.model);
        let device = loss.device();
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        let value = loss.into_scalar::<f32>();
        device.sync()?;
        let stepped = Instant::now();
        self.model = match &self.stepper {
            Stepper::Fused(fused) => fused.step(&mut self.optim, lr, self.model, grads),
            Stepper::Burns { max_norm } => {
                let grads = match *max_norm {
                    Some(max_norm) => clip::by_norm_of_all(&self.model, grads, max_norm),
                    None => grads,
                };
                self.optim.step(lr, self.model, grads)
            }
        };
        device.sync()?;
        if !self.losses.is_empty() {
            self.model_took += (stepped - start).as_secs_f64();
            self.step_took += stepped.elapsed().as_secs_f64();
        }
        self.losses.push(value.into());
        Ok(self)
    }

    /// The largest difference of losses from those of `burns`. That of a loss that is not a number is one.
    pub(crate) fn differs(&self, burns: &Self) -> f64 {
        let differences = self.losses.iter().zip(&burns.losses).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, |worst, d| if d <= worst || worst.is_nan() { worst } else { d })
    }

    pub(crate) fn print(&self) {
        let each = |took: f64| 1e3 * took / self.losses.len().saturating_sub(1).max(1) as f64;
        println!(
            "{:<32} loss {:.4}, {:.0} ms for a loss and its gradients, {:.1} ms for a step",
            self.name,
            self.losses.last().unwrap_or(&f64::NAN),
            each(self.model_took),
            each(self.step_took),
        );
    }
}

/// Prints how far each run is from the one of Burn's that it should follow.
pub(crate) fn print_differences<M: Module>(runs: &[Run<M>]) {
    for run in runs {
        if let Some(burns) = run.beside {
            let (differs, burns) = (run.differs(&runs[burns]), runs[burns].name);
            println!("{}: losses differ by up to {differs:.1e} from {burns}", run.name);
        }
    }
}

/// The module with every parameter in memory of its own.
fn copied<M: Module>(module: &M) -> M {
    struct Copy;
    impl ModuleMapper for Copy {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let requires_grad = tensor.is_require_grad();
            let copy = Tensor::from_data(tensor.to_data(), &tensor.device());
            Param::from_mapped_value(id, copy.set_require_grad(requires_grad), mapper)
        }
    }
    module.clone().map(&mut Copy)
}

/// Arguments as `name=value`.
pub(crate) struct Args(Vec<(String, String)>);

impl Args {
    /// # Errors
    /// One that is not of these names.
    pub(crate) fn of(names: &[&str]) -> Result<Self> {
        let named = |arg: String| match arg.split_once('=') {
            Some((name, value)) if names.contains(&name) => Ok((name.into(), value.into())),
            _ => Err(format!("expected {}=…, found '{arg}'", names.join("=…, "))),
        };
        Ok(Self(std::env::args().skip(1).map(named).collect::<Result<_, _>>()?))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some((_, value)) = self.0.iter().find(|(found, _)| found == name) else {
            return Ok(default);
        };
        value.parse().map_err(|_| format!("{name} must be a number, found '{value}'").into())
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, path)| path.into())
    }
}

/// A file of the data that `fallline train` carries.
///
/// # Errors
/// In a package of this crate alone it is missing.
pub(crate) fn data(args: &Args, name: &str) -> Result<String> {
    let carried = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/data");
    let path = args.path("data").unwrap_or_else(|| PathBuf::from(carried).join(name));
    let why =
        |error| format!("cannot read {} (give another by data=FILE): {error}", path.display());
    Ok(std::fs::read_to_string(&path).map_err(why)?)
}
