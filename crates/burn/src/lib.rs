//! fallline's optimizer step in Burn: Burn's own optimizer, one compute pass for the whole module, no copy.
//!
//! [`Fused`] implements Burn's `Optimizer`. Put into a `ModuleOptimizer` it has records and recorders, parameter groups,
//! learning rates by group, schedulers and the `Learner`; the step itself is fallline's.
//!
//! # Opening the device
//!
//! Parameters and gradients stay in Burn's buffers, so both work on one device. Burn gives away the queue of a device only
//! where it is opened:
//!
//! ```no_run
//! use burn::{optim::{AdamWConfig, ModuleOptimizer}, tensor::Device};
//! use fallline_burn::FusedConfig;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (device, setup) = Device::wgpu_options().init_with_setup()?;
//! let device = device.autodiff(); // for models and data, as ever
//! let fused = FusedConfig::try_from(AdamWConfig::new())?.init(&setup)?;
//! let optim: ModuleOptimizer = fused.clone().into();
//! # Ok(())
//! # }
//! ```
//!
//! # A loop of one's own
//!
//! [`Fused::step`] instead of `optim.step`; [`Fused::try_step`] gives errors as values, and the module back:
//!
//! ```no_run
//! use burn::{module::Module, optim::{GradientsParams, ModuleOptimizer}, tensor::Tensor};
//! use fallline_burn::Fused;
//!
//! fn step<M: Module>(fused: &Fused, optim: &mut ModuleOptimizer, model: M, loss: Tensor<1>) -> M {
//!     let grads = GradientsParams::from_grads(loss.backward(), &model);
//!     fused.step(optim, 1e-3, model, grads)
//! }
//! ```
//!
//! # A `Learner`
//!
//! `Learner::new(model, optim, schedule)` takes the `ModuleOptimizer`, and the model's `TrainStep::optimize` calls
//! [`step()`]. Without that, Burn hands over one parameter after the other, and each is stepped at once: with right
//! results, slowly, and with a warning in the log. Where all gradients are needed at once (clipping to a norm, a loss scale, skipped
//! steps, rules that look at all tensors) that is refused, with a message that says what to do.
//!
//! # Rules
//!
//! From Burn's configurations, by Burn's names and with Burn's defaults: `SgdConfig`, `AdamConfig`, `AdamWConfig`,
//! `AdaGradConfig`, `AdafactorConfig`, `AdanConfig`, `LambConfig`, `LionConfig`, `RmsPropConfig`, also as `Config::load` reads them
//! from a file. What cannot be taken over is an [`Error::Config`]. Any rule of fallline's (its guide tells them apart), or of your own, comes by
//! [`FusedConfig::new`]; its defaults are torch's, and of AdamW not Burn's (eps 1e-5, weight decay 1e-4):
//!
//! ```no_run
//! use fallline_burn::{FusedConfig, fallline::{Precision, ScheduleFreeAdamW, StateFormat}};
//!
//! let config = FusedConfig::new(ScheduleFreeAdamW::new())
//!     .with_state(StateFormat::Int8)          // 2 bytes a parameter instead of 8
//!     .with_precision(Precision::Master)      // for parameters of 16 bits
//!     .with_max_norm(1.0);                    // of all tensors together
//! ```
//!
//! Parameter groups are Burn's: `ModuleOptimizer::with_group` with [`Fused::group`], in the same pass. Learning rates are those that
//! Burn gives to each parameter.
//!
//! # Clones of the module
//!
//! Burn's tensors never change, so a clone of a module shares them. A step in place would change the clone too: a copy for
//! an average, say.
//!
//! - In a loop of one's own, what is shared is copied first, and what is not shared is written where it lies. An average that is kept
//!   as a clone so costs a copy of the parameters in each step; [`FusedConfig::with_ema_decay`] does not.
//! - A `Learner` clones its model for each step and then drops the old one. So [`step()`] writes where parameters lie, and whoever
//!   keeps a clone beyond a step there must ask for [`with_in_place(false)`](FusedConfig::with_in_place).
//!
//! A parameter that a module holds twice stays one. (Burn's own optimizers part them with the first step.)
//!
//! What was queued on any thread before the step reads the old values, with and without fusion.
//!
//! # Records
//!
//! `optim.to_record()`, `load_record`, `save`, `load` and the `Learner`'s checkpoints hold the state. Where Burn has the rule and
//! the state is f32 it is Burn's record: a run of Burn's AdamW goes on with fallline, and the other way round. Else it is
//! fallline's, codes and scales as they lie on the GPU. Either continues to the bit. A record that is not the state of the rule is
//! refused with the first step, by name.
//!
//! # Loss scale
//!
//! With [`FusedConfig::with_loss_scale`] the scale lives and adapts on the GPU; nothing is read back:
//!
//! ```no_run
//! use burn::tensor::{Device, Tensor};
//! use fallline_burn::{Fused, FusedConfig, fallline::DynamicScale};
//!
//! # fn main() -> fallline_burn::Result<()> {
//! # let (config, setup): (FusedConfig, burn::tensor::wgpu::WgpuSetup) = unimplemented!();
//! let fused = config.with_loss_scale(DynamicScale::default()).init(&setup)?;
//! # Ok(())
//! # }
//! // … in the loop:
//! fn backward(fused: &Fused, loss: Tensor<1>, device: &Device) -> fallline_burn::Result<burn::tensor::Gradients> {
//!     Ok((loss * fused.loss_scale(device)?).backward())
//! }
//! ```
//!
//! # Averages
//!
//! [`Fused::evaluated`] gives the module with averages, or with what a schedule-free rule evaluates, in the place of its parameters.
//!
//! # Where it ends
//!
//! One device: with gradients from several (`step_multi`, `optimize_multi`) Burn adds them up on the parameter's, and that is stepped.
//! Burn's `LBFGS` and `Muon` have no counterpart. Parameters are f32, f16 or bf16, not quantized. A single number is a parameter
//! of one element, `Tensor<1>`: tensors without dimensions are refused by Burn itself.

mod config;
mod engine;
mod error;
mod fused;
mod modules;
mod place;
mod record;
mod scope;
mod state;

pub use config::FusedConfig;
pub use error::{Error, Refused, Result};
pub use fallline;
pub use fused::Fused;
pub use scope::{step, step_multi};
pub use state::FusedState;
