//! A step of a whole module: parameters are noted while Burn walks the module, and stepped together behind.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering},
};

use burn::{
    module::Module,
    optim::{
        GradientsParams, ModuleOptimizer, MultiGradientsParams,
        lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    },
};

use crate::{Error, Refused, Result, engine::Pending, fused::Shared, modules};

thread_local! {
    /// The step that this thread is in.
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Scope {
    in_place: bool,
    noted: Vec<(Arc<Shared>, Vec<Pending>)>,
    error: Option<Error>,
}

/// Steps the module, as `optim.step(lr, module, grads)` would: with a [`Fused`](crate::Fused) optimizer all parameters
/// together, with any other as ever. It is what a model that is trained by a `Learner` steps with:
///
/// ```
/// use burn::{
///     module::Module,
///     optim::{GradientsParams, ModuleOptimizer, lr_scheduler::module_lr_scheduler::ModuleLearningRate},
///     train::{TrainOutput, TrainStep},
/// };
///
/// # #[derive(Module, Debug)]
/// # struct Model {}
/// impl TrainStep for Model {
///     # type Input = ();
///     # type Output = burn::train::RegressionOutput;
///     # fn step(&self, _: ()) -> TrainOutput<Self::Output> { unimplemented!() }
///     fn optimize(
///         self,
///         optim: &mut ModuleOptimizer,
///         lr: ModuleLearningRate,
///         grads: GradientsParams,
///     ) -> Self {
///         fallline_burn::step(optim, lr, self, grads)
///     }
///     // … step as ever
/// }
/// ```
///
/// Parameters are written where they lie, also if clones of the module share them: a `Learner` has one in every step.
/// See [`FusedConfig::with_in_place`](crate::FusedConfig::with_in_place).
///
/// # Panics
/// For any [`Error`], which neither Burn's trait nor this has a place for.
pub fn step<M: Module>(
    optim: &mut ModuleOptimizer,
    lr: impl Into<ModuleLearningRate>,
    module: M,
    grads: GradientsParams,
) -> M {
    let stepped = run(Scope::new(true), || optim.step(lr, module, grads));
    stepped.unwrap_or_else(|refused| panic!("{refused}"))
}

/// As [`step`], for `TrainStep::optimize_multi`: gradients from several devices, added up on the parameter's.
///
/// # Panics
/// As [`step`].
pub fn step_multi<M: Module>(
    optim: &mut ModuleOptimizer,
    lr: impl Into<ModuleLearningRate>,
    module: M,
    grads: MultiGradientsParams,
) -> M {
    let stepped = run(Scope::new(true), || optim.step_multi(lr, module, grads));
    stepped.unwrap_or_else(|refused| panic!("{refused}"))
}

impl Scope {
    pub(crate) fn new(in_place: bool) -> Self {
        Self { in_place, noted: Vec::new(), error: None }
    }

    /// Steps what was noted.
    fn finish<M: Module>(self, mut module: M) -> Result<M, Refused<M>> {
        if let Some(error) = self.error {
            return Err(Refused { module, error });
        }
        let mut is_tied = false;
        for (shared, pending) in self.noted {
            if shared.engine().has_unnamed() {
                modules::name(&shared, &module);
            }
            if let Err(error) = shared.engine().step(pending) {
                return Err(Refused { module, error });
            }
            is_tied |= shared.is_tied.load(Ordering::Relaxed);
        }
        if is_tied {
            module = modules::tie(module);
        }
        Ok(module)
    }
}

/// Puts back what there was, also if a step panics.
struct Restore(Option<Scope>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0.take());
    }
}

/// Runs a step of Burn's within a scope, and then ours.
pub(crate) fn run<M: Module>(scope: Scope, step: impl FnOnce() -> M) -> Result<M, Refused<M>> {
    let restore = Restore(SCOPE.replace(Some(scope)));
    let module = step();
    let scope = SCOPE.take().unwrap_or_else(|| Scope::new(false));
    drop(restore);
    scope.finish(module)
}

/// Whether the step that this thread is in is one in place; `None` outside of any.
pub(crate) fn in_place() -> Option<bool> {
    SCOPE.with_borrow(|scope| scope.as_ref().map(|scope| scope.in_place))
}

/// Notes a parameter for the step that this thread is in, or why there can be no such step.
pub(crate) fn add(shared: &Arc<Shared>, noted: Result<Pending>) {
    SCOPE.with_borrow_mut(|scope| {
        let Some(scope) = scope else { return };
        match noted {
            Err(error) => {
                scope.error.get_or_insert(error);
            }
            Ok(pending) => {
                let is_it = |(known, _): &(Arc<Shared>, _)| Arc::ptr_eq(known, shared);
                match scope.noted.iter().position(is_it) {
                    Some(index) => scope.noted[index].1.push(pending),
                    None => scope.noted.push((Arc::clone(shared), vec![pending])),
                }
            }
        }
    });
}
