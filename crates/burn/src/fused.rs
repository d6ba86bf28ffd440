//! fallline as one of Burn's own optimizers.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use burn::{
    module::Module,
    optim::{
        GradientsParams, LearningRate, ModuleOptimizer, MultiGradientsParams, Optimizer,
        lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    },
    tensor::{Device, Tensor, wgpu::WgpuSetup},
};
use fallline::{Gpu, LossScaler, Options, StepReport, TensorId};

use crate::{
    Error, FusedConfig, FusedState, Refused, Result,
    engine::{Engine, Pending, Slot, Ticket},
    modules,
    place::Lent,
    scope::{self, Scope},
    state::Kept,
};

/// fallline's optimizer step as an optimizer of Burn's: put into a `ModuleOptimizer`, it steps a whole module in one
/// compute pass.
///
/// ```no_run
/// use burn::{module::Module, optim::{AdamWConfig, GradientsParams, ModuleOptimizer}, tensor::wgpu::WgpuSetup};
/// use fallline_burn::FusedConfig;
///
/// fn train<M: Module>(
///     setup: &WgpuSetup,
///     mut model: M,
///     batches: impl Iterator<Item = GradientsParams>,
/// ) -> fallline_burn::Result<M> {
///     let fused = FusedConfig::try_from(AdamWConfig::new())?.init(setup)?;
///     let mut optim: ModuleOptimizer = fused.clone().into();
///     for grads in batches {
///         model = fused.step(&mut optim, 1e-3, model, grads);
///     }
///     Ok(model)
/// }
/// ```
///
/// Clones are the same optimizer: one for `ModuleOptimizer`, one to step with.
#[derive(Clone, Debug)]
pub struct Fused {
    shared: Arc<Shared>,
    /// The group of parameters that this one steps.
    group: usize,
}

/// What clones and groups share.
#[derive(Debug)]
pub(crate) struct Shared {
    engine: Mutex<Engine>,
    in_place: Option<bool>,
    /// Whether a module that was stepped holds a parameter twice.
    pub(crate) is_tied: AtomicBool,
    /// Whether it was said that steps are taken one tensor at a time.
    has_warned: AtomicBool,
}

impl Shared {
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fused {
    pub(crate) fn new(config: FusedConfig, setup: &WgpuSetup) -> Result<Self> {
        let gpu = Gpu::from_device(setup.device.clone(), setup.queue.clone())?;
        let scaler = config.loss_scale.map(|rule| LossScaler::dynamic(&gpu, rule)).transpose()?;
        let options = Options { loss_scaler: scaler, ..config.options.clone() };
        let in_place = config.in_place;
        let engine = Mutex::new(Engine::new(gpu, config, options)?);
        let (is_tied, has_warned) = Default::default();
        Ok(Self { shared: Arc::new(Shared { engine, in_place, is_tied, has_warned }), group: 0 })
    }

    /// An optimizer for a group of parameters, with a rule, a state and options of its own, which takes its steps in the
    /// same compute pass.
    ///
    /// ```no_run
    /// use burn::{module::ParamGroup, optim::{AdamWConfig, ModuleOptimizer}, tensor::wgpu::WgpuSetup};
    /// use fallline_burn::{Fused, FusedConfig, fallline::Lion};
    ///
    /// # fn main() -> fallline_burn::Result<()> {
    /// # let setup: WgpuSetup = unimplemented!();
    /// let fused = FusedConfig::try_from(AdamWConfig::new())?.init(&setup)?;
    /// let head = fused.group(FusedConfig::new(Lion::new()))?;
    /// let optim = ModuleOptimizer::from(fused.clone()).with_group(ParamGroup::from_path("head"), head, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::OfAllGroups`] for what cannot be of one group; [`Error::LateGroup`] after the first step.
    pub fn group(&self, config: FusedConfig) -> Result<Self> {
        config.check_group()?;
        let group = self.shared.engine().add_group(config)?;
        Ok(Self { shared: Arc::clone(&self.shared), group })
    }

    /// Steps the module, as `optim.step(lr, module, grads)` would.
    ///
    /// # Panics
    /// Where [`try_step`](Self::try_step) gives an error.
    pub fn step<M: Module>(
        &self,
        optim: &mut ModuleOptimizer,
        lr: impl Into<ModuleLearningRate>,
        module: M,
        grads: GradientsParams,
    ) -> M {
        self.try_step(optim, lr, module, grads).unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// Steps the module, or gives it back as it was with what is wrong.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn try_step<M: Module>(
        &self,
        optim: &mut ModuleOptimizer,
        lr: impl Into<ModuleLearningRate>,
        module: M,
        grads: GradientsParams,
    ) -> Result<M, Refused<M>> {
        scope::run(Scope::new(false), || optim.step(lr, module, grads))
    }

    /// As [`step`](Self::step), for gradients from several devices.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    pub fn step_multi<M: Module>(
        &self,
        optim: &mut ModuleOptimizer,
        lr: impl Into<ModuleLearningRate>,
        module: M,
        grads: MultiGradientsParams,
    ) -> M {
        let stepped = scope::run(Scope::new(false), || optim.step_multi(lr, module, grads));
        stepped.unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// What is known of steps, as far as it has arrived; never waits. Only of an optimizer that clips to a norm, scales
    /// the loss, skips or is monitored.
    ///
    /// # Errors
    /// [`fallline::Error::NothingToReport`], [`fallline::Error::DeviceLost`].
    pub fn reports(&self) -> Result<Vec<StepReport>> {
        self.shared.engine().reports(fallline::Optimizer::poll_reports)
    }

    /// What is known of all steps that were taken, after waiting for them; otherwise as [`reports`](Self::reports).
    ///
    /// # Errors
    /// As [`reports`](Self::reports).
    pub fn wait_reports(&self) -> Result<Vec<StepReport>> {
        self.shared.engine().reports(fallline::Optimizer::wait_reports)
    }

    /// What a parameter that a report names is called: the path of its module, if it was stepped with that.
    #[must_use]
    pub fn name_of(&self, id: TensorId) -> Option<String> {
        let engine = self.shared.engine();
        let slot = engine.slots.iter().find(|slot| slot.id == Some(id));
        slot.map(|slot| slot.spec.name.clone())
    }

    /// The number by which a loss is to be multiplied, as it is on the GPU now: 1 without a loss scale.
    ///
    /// ```no_run
    /// # use burn::tensor::{Device, Tensor};
    /// # fn scaled(fused: &fallline_burn::Fused, loss: Tensor<1>, device: &Device) -> fallline_burn::Result<Tensor<1>> {
    /// let scaled = loss * fused.loss_scale(device)?;
    /// # Ok(scaled)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotWgpu`], [`Error::Burn`], [`Error::Engine`].
    pub fn loss_scale(&self, device: &Device) -> Result<Tensor<1>> {
        modules::loss_scale(&self.shared.engine(), device)
    }

    /// The module as it is to be evaluated: with the averages that were asked for, or what a rule makes of its state, in
    /// the place of parameters as they were after the last step. Others, also those that have taken no step, are those of
    /// the module. Values go by way of the host.
    ///
    /// # Errors
    /// [`Error::NotStepped`] if no parameter has taken a step with this optimizer, or none as part of its module;
    /// [`Error::Engine`].
    pub fn evaluated<M: Module>(&self, module: &M) -> Result<M> {
        modules::evaluated(&self.shared.engine(), module)
    }

    /// Bytes of the state on the GPU.
    #[must_use]
    pub fn state_size_bytes(&self) -> u64 {
        self.shared.engine().optimizer().map_or(0, fallline::Optimizer::state_size_bytes)
    }

    /// How many dispatches a step takes for parameters where they lay in the last one.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.shared.engine().optimizer().map_or(0, fallline::Optimizer::dispatches)
    }

    /// Notes a parameter for a step.
    fn note<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: &mut Option<FusedState>,
        in_place: bool,
    ) -> (Tensor<D>, Result<Pending>) {
        let keep_clones = !self.shared.in_place.unwrap_or(in_place);
        if let Some(FusedState(Kept::Held(ticket))) = state {
            // Who pins it now is somebody else.
            ticket.shared.engine().slots[ticket.slot].pin = None;
        }
        let (tensor, param) = Lent::write(tensor, keep_clones);
        let noted = param.and_then(|param| {
            let grad = Lent::read(grad)?;
            let ticket = self.ticket(state.as_ref(), &param, &grad)?;
            *state = Some(FusedState(Kept::Held(Arc::clone(&ticket))));
            Ok(Pending { ticket, lr, param, grad })
        });
        (tensor, noted)
    }

    /// The slot of a parameter with this state.
    fn ticket(&self, state: Option<&FusedState>, param: &Lent, grad: &Lent) -> Result<Arc<Ticket>> {
        let brought = match state {
            None => None,
            Some(FusedState(Kept::Brought(brought))) => Some(Arc::clone(brought)),
            Some(FusedState(Kept::Held(ticket))) => {
                let mut engine = ticket.shared.engine();
                let is_ours = Arc::ptr_eq(&ticket.shared, &self.shared);
                // Where others hold it too, a clone of the optimizer goes on from here as well.
                if is_ours && Arc::strong_count(ticket) == 1 {
                    engine.slots[ticket.slot].check(param, grad)?;
                    return Ok(Arc::clone(ticket));
                }
                Some(Arc::new(engine.state(ticket.slot)?))
            }
        };
        let mut engine = self.shared.engine();
        let group = (self.group, engine.precision(self.group));
        let slot = Slot::new(group, param, grad, brought)?;
        Ok(engine.seat(slot, &self.shared))
    }

    /// Steps one parameter by itself.
    fn step_alone(&self, pending: Pending) -> Result<()> {
        let mut engine = self.shared.engine();
        if let Some(what) = engine.needs_all() {
            return Err(Error::OutsideOfStep { what });
        }
        if !self.shared.has_warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "fallline steps parameters one by one, which is slow: ModuleOptimizer::step was called without \
                 fallline_burn::step (in a Learner: override TrainStep::optimize to call it)"
            );
        }
        engine.step(vec![pending])
    }
}

impl Optimizer for Fused {
    type State<const D: usize> = FusedState;

    /// Within a step notes the parameter, else steps it at once.
    ///
    /// # Panics
    /// Outside of a step, for any [`Error`]: among them what needs all gradients at once.
    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        mut state: Option<FusedState>,
    ) -> (Tensor<D>, Option<FusedState>) {
        let Some(in_place) = scope::in_place() else {
            let (tensor, noted) = self.note(lr, tensor, grad, &mut state, false);
            let stepped = noted.and_then(|pending| self.step_alone(pending));
            stepped.unwrap_or_else(|error| panic!("{error}"));
            return (tensor, state);
        };
        let (tensor, noted) = self.note(lr, tensor, grad, &mut state, in_place);
        scope::add(&self.shared, noted);
        (tensor, state)
    }

    fn to_device<const D: usize>(state: FusedState, _: &Device) -> FusedState {
        state
    }
}
