//! fallline's optimizer over the parameters of a module: they come and go, and lie elsewhere in each step.

mod install;
mod slot;

use std::sync::Arc;

use burn::module::ParamId;
use fallline::{
    BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Options, Places, Precision, Saved, Scope,
    Step, StepReport, TensorId, wgpu,
};

pub(crate) use slot::{Pending, Slot, Ticket};

use crate::{
    Error, FusedConfig, Result,
    fused::Shared,
    place::{self, Identity},
};

/// The optimizer, which is made with the first step.
#[derive(Debug)]
pub(crate) struct Engine {
    gpu: Gpu,
    groups: Vec<(Group, Precision)>,
    options: Options,
    accumulated: u32,
    optimizer: Option<Optimizer>,
    /// Every parameter that was ever stepped, by number.
    pub(crate) slots: Vec<Slot>,
    /// By tensor of the optimizer: where it lay in its last step. It lies there still: its slot pins it.
    params: Vec<BufferRange>,
    /// Where tensors without elements lie.
    nowhere: wgpu::Buffer,
    /// What was saved since the last step, for records, which ask for it parameter by parameter.
    saved: Option<Saved>,
}

impl Engine {
    pub(crate) fn new(gpu: Gpu, config: FusedConfig, options: Options) -> Result<Self> {
        let nowhere = gpu.checked("nowhere", || {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("fallline-burn nowhere"),
                size: 16,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        let mut engine = Self {
            gpu,
            groups: Vec::new(),
            options,
            accumulated: config.accumulated,
            optimizer: None,
            slots: Vec::new(),
            params: Vec::new(),
            nowhere,
            saved: None,
        };
        engine.add_group(config)?;
        Ok(engine)
    }

    /// Adds a group and gives its number.
    pub(crate) fn add_group(&mut self, config: FusedConfig) -> Result<usize> {
        if self.optimizer.is_some() {
            return Err(Error::LateGroup);
        }
        let number = self.groups.len();
        let FusedConfig { mut group, precision, .. } = config;
        group.name = number.to_string();
        self.groups.push((group, precision));
        Ok(number)
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn optimizer(&self) -> Option<&Optimizer> {
        self.optimizer.as_ref()
    }

    /// What it needs all gradients at once for, if it does.
    pub(crate) fn needs_all(&self) -> Option<&'static str> {
        let Options { max_norm, loss_scaler, skip_non_finite, .. } = &self.options;
        let groups = || self.groups.iter().map(|(group, _)| group);
        let joint = |group: &Group| matches!(group.rule.scope(), Scope::Group | Scope::Optimizer);
        let needs = [
            ("clipping to a norm", max_norm.is_some() || groups().any(|g| g.max_norm.is_some())),
            ("a loss scale", loss_scaler.is_some()),
            ("skipping steps that are not finite", *skip_non_finite),
            ("a rule that looks at all tensors", groups().any(joint)),
        ];
        needs.into_iter().find(|(_, is_needed)| *is_needed).map(|(what, _)| what)
    }

    /// One step for these parameters; any others stay as they are.
    pub(crate) fn step(&mut self, pending: Vec<Pending>) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        self.saved = None;
        self.remove_unused()?;
        let mut tickets = Vec::with_capacity(pending.len());
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for Pending { ticket, lr, param, grad } in pending {
            if !self.slots[ticket.slot].is_empty() {
                written.push(param);
                read.push(grad);
            }
            tickets.push((ticket, lr));
        }
        let lent = written.len();
        let mut located = place::locate(written, read)?;
        let grads = located.split_off(lent);
        let mut located = located.into_iter().zip(grads);

        // Gradients stay where they are until the step is submitted.
        let mut pins = Vec::with_capacity(lent);
        let mut placed = Vec::with_capacity(tickets.len());
        for (ticket, lr) in tickets {
            let slot = &mut self.slots[ticket.slot];
            let (param, grad) = if slot.is_empty() {
                let nowhere = BufferRange::new(&self.nowhere, 0, 0);
                (nowhere.clone(), nowhere)
            } else {
                let missing = || Error::Burn { reason: "fewer places than tensors".into() };
                let (param, grad) = located.next().ok_or_else(missing)?;
                pins.extend([slot.pin.replace(param.pin), Some(grad.pin)].into_iter().flatten());
                (param.range, grad.range)
            };
            if let Some(id) = slot.id {
                self.params[id.index()] = param.clone();
            }
            placed.push((ticket.slot, lr, param, grad));
        }
        self.add_new(&placed)?;
        self.install(placed.iter().map(|(slot, ..)| *slot))?;
        self.submit(placed)
    }

    /// Takes those out that no optimizer of Burn's has the state of.
    fn remove_unused(&mut self) -> Result<()> {
        let Some(optimizer) = &mut self.optimizer else { return Ok(()) };
        // (Who is about to take a step holds its ticket.)
        let is_unused = |slot: &&mut Slot| slot.id.is_some() && slot.ticket.strong_count() == 0;
        let unused: Vec<&mut Slot> = self.slots.iter_mut().filter(is_unused).collect();
        let ids: Vec<TensorId> = unused.iter().filter_map(|slot| slot.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        optimizer.remove_tensors(&ids)?;
        for slot in unused {
            slot.leave();
        }
        for id in ids {
            self.params[id.index()] = BufferRange::new(&self.nowhere, 0, 0);
        }
        Ok(())
    }

    /// Adds those that take their first step.
    fn add_new(&mut self, placed: &[(usize, f64, BufferRange, BufferRange)]) -> Result<()> {
        let is_new = |slot: usize| self.slots[slot].id.is_none();
        let (mut numbers, mut tensors) = (Vec::new(), Vec::new());
        for (slot, _, param, grad) in placed.iter().filter(|(slot, ..)| is_new(*slot)) {
            let spec = self.slots[*slot].spec.clone();
            tensors.push(BorrowedTensor { spec, param: param.clone(), grad: Some(grad.clone()) });
            numbers.push(*slot);
        }
        if tensors.is_empty() {
            return Ok(());
        }
        let ids: Vec<TensorId> = match &mut self.optimizer {
            Some(optimizer) => {
                // The new ones may lie where gradients of the last step lay.
                let grads = vec![None; self.params.len()];
                optimizer.place(&Places { params: Some(&self.params), grads: &grads })?;
                optimizer.add_borrowed(&tensors)?
            }
            None => {
                let groups: Vec<Group> =
                    self.groups.iter().map(|(group, _)| group.clone()).collect();
                let made = Optimizer::borrowed_with(&self.gpu, &groups, &tensors, &self.options)?;
                self.optimizer = Some(made);
                (0..tensors.len()).map(TensorId::new).collect()
            }
        };
        for ((number, id), tensor) in numbers.into_iter().zip(ids).zip(tensors) {
            self.slots[number].id = Some(id);
            self.params.push(tensor.param);
        }
        Ok(())
    }

    /// Records the step and submits it.
    fn submit(&mut self, placed: Vec<(usize, f64, BufferRange, BufferRange)>) -> Result<()> {
        let Some(optimizer) = &mut self.optimizer else { return Ok(()) };
        let mut grads = vec![None; self.params.len()];
        let mut rates = vec![0.0; self.params.len()];
        for slot in &self.slots {
            if let Some(id) = slot.id {
                // Of those that take no step, whatever their rule takes.
                rates[id.index()] = self.groups[slot.group].0.lr();
            }
        }
        for (slot, lr, _, grad) in placed {
            if let Some(id) = self.slots[slot].id {
                grads[id.index()] = Some(grad);
                rates[id.index()] = lr;
            }
        }
        optimizer.place(&Places { params: Some(&self.params), grads: &grads })?;
        Ok(optimizer.step(&Step::lr_per_tensor(&rates).accumulated(self.accumulated))?)
    }

    /// What is known of steps, asked for in this way.
    pub(crate) fn reports(
        &mut self,
        ask: impl FnOnce(&mut Optimizer) -> fallline::Result<Vec<StepReport>>,
    ) -> Result<Vec<StepReport>> {
        Ok(self.optimizer.as_mut().map(ask).transpose()?.unwrap_or_default())
    }

    /// The slot of a parameter of a module.
    pub(crate) fn slot_of(&self, param: ParamId) -> Option<&Slot> {
        // The last of them: a parameter may have been stepped by several optimizers, one after the other.
        self.slots.iter().rev().find(|slot| slot.id.is_some() && slot.param == Some(param))
    }

    /// Says whose slots these are, by the identity of their tensors.
    pub(crate) fn name(&mut self, param: ParamId, path: &str, tensor: &Identity) {
        let is_it = |slot: &Slot| slot.id.is_none() && slot.identity.as_ref() == Some(tensor);
        let Some(number) = self.slots.iter().position(is_it) else { return };
        let is_taken = |name: &str| {
            self.slots.iter().any(|slot| slot.spec.name == name && slot.ticket.strong_count() > 0)
        };
        let name = match is_taken(path) {
            true => format!("{path} ({number})"),
            false => path.to_owned(),
        };
        let slot = &mut self.slots[number];
        (slot.spec.name, slot.param) = (name, Some(param));
    }

    /// Whether a step has begun for parameters that have no names yet.
    pub(crate) fn has_unnamed(&self) -> bool {
        let is_used = |slot: &Slot| slot.ticket.strong_count() > 0;
        self.slots.iter().any(|slot| slot.id.is_none() && slot.param.is_none() && is_used(slot))
    }

    /// The precision of a group's parameters.
    pub(crate) fn precision(&self, group: usize) -> Precision {
        self.groups[group].1
    }

    /// The name of the rule of a slot.
    pub(crate) fn rule_of(&self, slot: usize) -> &'static str {
        self.groups[self.slots[slot].group].0.rule.name()
    }

    /// Gives a parameter a slot.
    pub(crate) fn seat(&mut self, mut slot: Slot, shared: &Arc<Shared>) -> Arc<Ticket> {
        let number = self.slots.len();
        let ticket = Arc::new(Ticket { shared: Arc::clone(shared), slot: number });
        slot.spec.name = format!("parameter {number}");
        slot.ticket = Arc::downgrade(&ticket);
        self.slots.push(slot);
        ticket
    }
}
