"""The recorder of `record_torch.py`, whose docstring tells the format."""

import math
from pathlib import Path

import torch
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm

from .config import config_text, options_of, slots_of
from .extras import Average, Estimates, Lookahead, evaluation_points
from .references import reference_of
from .tensors import TraceError, copied, write


class Recorder:
    """Listens to an optimizer and keeps, on the CPU, what it is given in every step."""

    def __init__(self, optimizer, named_parameters, *, scaler=None, clip_norm=None,
                 clip_value=None, master="none", dtypes=None, grad_dtypes=None, state="f32",
                 average=None, ema_decay=None, ema_warmup=False, swa_start=None, swa_every=1,
                 schedule=None):
        """`named_parameters` yields (name, parameter), as `Module.named_parameters()` does.

        scaler       the GradScaler, or a fixed loss scale
        clip_norm    the limit to the norm of all gradients; a group of the optimizer, save the
                     first, may have an item `clip_norm` for its own
        clip_value   the limit to every element of the gradients
        master       how 16-bit parameters are kept, as in the config. With a master the optimizer
                     works on that, in f32; without, on the parameters themselves, or in f32 on what
                     the caller rounds after every step
        dtypes       by name, of the parameters as the model sees them; the optimizer's if not told
        grad_dtypes  by name, of the gradients as the backward pass yields them; as the recorder
                     finds them if not told
        state        in what the replay keeps the state, as in the config. What is recorded is the
                     optimizer's own state, from which a rounded one differs
        average      the AveragedModel that holds an average of the parameters
        ema_decay, ema_warmup, swa_start, swa_every   what it averages by, as in the config
        schedule     the table [schedule] of the config, a dict, where a scheduler moves the momentum
                     too: that is in no trace, and the replay has it from there
        """
        self.lookahead, optimizer = Lookahead.around(optimizer)
        self.optimizer = optimizer
        self.reference = reference_of(optimizer)
        self.average = Average(average, ema_decay, ema_warmup, swa_start, swa_every)
        self.scaler = None if isinstance(scaler, GradScaler) and not scaler.is_enabled() else scaler
        self.clip = {"norm": clip_norm, "value": clip_value}
        self.clip = {key: float(limit) for key, limit in self.clip.items() if limit is not None}
        self.master = master
        self.dtypes = dtypes or {}
        self.grad_dtypes = grad_dtypes or {}
        self.state = state
        self.schedule = schedule
        self.names = {}  # of every parameter
        for name, parameter in named_parameters:
            if name in self.names.values():
                raise TraceError(f"two parameters bear the name {name!r}")
            self.names[parameter] = name
        for parameter, name in self.parameters():
            self._dtype(parameter, name)
            if slots_of(optimizer, parameter):
                raise TraceError(f"{name} has optimizer state: record from the first step on")
        if "clip_norm" in optimizer.param_groups[0]:
            raise TraceError("group 0 has a clip_norm: in the config all groups would inherit it")
        if isinstance(self.scaler, GradScaler) and self.scaler.state_dict()["_growth_tracker"]:
            raise TraceError("the scaler has been in use: record from the first step on")
        self.steps = 0
        self.own_steps = {}  # of every parameter that has made any: its name, their number
        self.taken = False  # whether `gradients` has been called for the coming step
        self.tensors = {}
        self.learning_rates = []  # in every step: of every group
        self.rates = []  # of every group: lr in the config
        self.options = []  # of every group: the other options in the config
        self.members = []  # of every group: the names of its parameters
        self.reports = {"scale": [], "skipped": [], "norm": []}
        self.estimates = None
        if self.reference and self.reference.estimates:
            self.estimates = Estimates(self, self.reference.estimates)
        optimizer.register_step_pre_hook(self._before_step)

    def gradients(self):
        """Take the gradients. Call it in every step, before they are unscaled and clipped."""
        self._take()
        self.taken = True

    def hessian(self, estimates):
        """Take estimates of the Hessian's diagonal, by name, which enter Sophia's average before
        the coming step. Those of `update_hessian` are taken by themselves."""
        if self.estimates is None:
            raise TraceError("the optimizer takes no estimates of the Hessian")
        self.estimates.take(estimates)

    def save(self, path):
        """Write the trace, and the config beside it. Return the config's path, if it has one."""
        if self.steps == 0:
            raise TraceError("the optimizer has made no step")
        if self.scaler is None and any(self.reports["skipped"]):
            raise TraceError("steps were skipped, which takes a scaler")
        tensors = dict(self.tensors)
        for step, rates in enumerate(self._recorded_rates(), start=1):
            tensors[f"lr/{step}"] = torch.tensor(rates, dtype=torch.float32)
        reports = ["scale", "skipped"] if self.scaler is not None else []
        reports += ["norm"] if "norm" in self.clip else []
        for what in reports:
            tensors[f"expect_report/{what}"] = torch.tensor(self.reports[what], dtype=torch.float32)
        tensors |= self._expectations()

        path, kind = Path(path), type(self.optimizer).__name__
        metadata = {"format": "fallline-trace", "torch": str(torch.__version__),
                    "optimizer": kind, "steps": str(self.steps)}
        write(path, tensors, metadata)
        if self.reference is None:
            print(f"no config: it knows no rule that is this {kind}")
            return None
        config_path = path.with_suffix(".toml")
        config_path.write_text(self._config_text(), encoding="utf-8", newline="\n")
        return config_path

    def _expectations(self):
        """Parameters and state after the last step, and what is made of them."""
        tensors = {}
        for parameter, name in self.parameters():
            dtype = self._dtype(parameter, name)
            if dtype == torch.float32 or self.master == "none":
                tensors[f"expect/{name}"] = copied(parameter, name, dtype)
            else:
                tensors[f"expect_master/{name}"] = master = copied(parameter, name)
                tensors[f"expect/{name}"] = master.to(dtype)
            slots = slots_of(self.optimizer, parameter)
            if self.lookahead and name in self.own_steps:
                slots |= self.lookahead.slots(parameter)
            if self.estimates:
                slots |= self.estimates.slots(slots)
            for slot, value in slots.items():
                tensors[f"expect_state/{slot}/{name}"] = copied(value, f"{slot} of {name}")
        taken = self.steps - int(sum(self.reports["skipped"]))
        tensors |= self.average.tensors(taken, self.own_steps)
        tensors |= self.estimates.tensors() if self.estimates else {}
        if self.reference and self.reference.evaluates:
            points = evaluation_points(self.optimizer, self.parameters())
            tensors |= {f"expect_eval/{name}": points[name] for name in self.own_steps}
        if self.reference and self.reference.rule == "prodigy":
            estimate = self.optimizer.param_groups[0]["d"]
            tensors["expect_d"] = torch.tensor([estimate], dtype=torch.float32)
        return tensors

    def parameters(self):
        """Yield every parameter of the optimizer, with its name."""
        for index, group in enumerate(self.optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                if parameter not in self.names:
                    raise TraceError(f"parameter {position} of group {index} has no name")
                yield parameter, self.names[parameter]

    def _dtype(self, parameter, name):
        """The dtype of a parameter as the model sees it."""
        dtype, own = self.dtypes.get(name, parameter.dtype), parameter.dtype
        if own not in (torch.float32, dtype):
            raise TraceError(f"{name}: the optimizer has it in {own}, and dtypes says {dtype}")
        if own != torch.float32 and self.master != "none":
            raise TraceError(f"{name}: with master = {self.master!r} the optimizer must have it in "
                             f"torch.float32, found {own}")
        return dtype

    def _before_step(self, optimizer, args, kwargs):
        """The hook: take what `step()` is about to use. PyTorch puts the optimizer in args[0]."""
        kwargs = dict(kwargs)
        if self.estimates:
            self.estimates.check_step(kwargs)
        if any(argument is not None for argument in (*args[1:], *kwargs.values())):
            raise TraceError("step(closure) computes its gradients too late for the recorder")
        if not self.taken:
            if self._alters_gradients():
                raise TraceError("call gradients() before the gradients are unscaled or clipped")
            self._take()
        self.taken = False
        self._count_steps()
        # A fused optimizer skips the step by itself.
        self.reports["skipped"][-1] = float(bool(getattr(optimizer, "found_inf", False)))

    def _count_steps(self):
        """Count the steps of every parameter."""
        of_group = (self.reference and self.reference.counts_of_group
                    and not hasattr(type(self.optimizer), "recorded_as"))
        taken = self.steps - int(sum(self.reports["skipped"][:-1]))
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                name = self.names[parameter]
                own = self.own_steps[name] = self.own_steps.get(name, 0) + 1
                if self.lookahead:
                    self.lookahead.check_step(name, own, group)
                if of_group and own != taken:
                    raise TraceError(f"{name} was without a gradient: its step {own} is step "
                                     f"{taken} of its group, by which the optimizer goes, and not "
                                     "a replay")

    def _alters_gradients(self):
        """Does anything happen to the gradients between backward pass and step?"""
        own = any("clip_norm" in group for group in self.optimizer.param_groups)
        return self.scaler is not None or bool(self.clip) or own

    def _take(self):
        """Begin a step: take parameters and gradients."""
        self._check_groups()
        self.steps += 1
        self.learning_rates.append([_rate(group["lr"]) for group in self.optimizer.param_groups])
        scale = self._scale()
        unscaled = []
        for parameter, name in self.parameters():
            if self.steps == 1:
                copy = copied(parameter, name, self._dtype(parameter, name))
                self.tensors[f"param/{name}"] = copy
            if parameter.grad is not None:
                dtype = self.grad_dtypes.get(name, parameter.grad.dtype)
                copy = copied(parameter.grad, f"{name}.grad", dtype)
                self.tensors[f"grad/{self.steps}/{name}"] = copy
                unscaled.append(copy.float() * (1.0 / scale))
        self.reports["scale"].append(scale)
        self.reports["skipped"].append(1.0)  # unless step() is called
        if "norm" in self.clip:
            self.reports["norm"].append(get_total_norm(unscaled).item())

    def _scale(self):
        """The present loss scale."""
        if isinstance(self.scaler, GradScaler):
            return self.scaler.get_scale()
        return 1.0 if self.scaler is None else float(self.scaler)

    def _check_groups(self):
        """During a run the learning rates may change, and momentum with a schedule; nothing else."""
        groups, step = self.optimizer.param_groups, self.steps + 1
        options = [options_of(self.optimizer, group) for group in groups]
        members = [[self.names.get(parameter) for parameter in group["params"]] for group in groups]
        if self.steps == 0:
            self.options, self.members = options, members
            # A scheduler keeps the rate it starts from in initial_lr.
            self.rates = [_rate(group.get("initial_lr", group["lr"])) for group in groups]
        if len(groups) != len(self.options):
            raise TraceError(f"there are {len(groups)} groups in step {step}, and were "
                             f"{len(self.options)}: a trace has the same in all steps")
        for index, (before, now) in enumerate(zip(self.options, options)):
            if members[index] != self.members[index]:
                raise TraceError(f"group {index} has other parameters in step {step} than before: "
                                 "a trace has the same in all steps")
            moves = ("momentum", "betas") if self.schedule else ()
            for name in before | now:
                if before.get(name) != now.get(name) and name not in moves:
                    hint = "; OneCycleLR and CyclicLR need cycle_momentum=False, or schedule"
                    raise TraceError(f"{name} of group {index} is {now.get(name)} in step {step}, "
                                     f"and was {before.get(name)}: only lr may change in a run"
                                     + (hint if name in ("momentum", "betas") else ""))

    def _recorded_rates(self):
        """What `lr/<t>` holds, in every step; nothing if the config tells the rates."""
        if all(rates == self.rates for rates in self.learning_rates):
            return []
        if None in self.rates:
            raise TraceError("a group without lr, whose optimizer sets the rate by itself, goes "
                             "with no group whose rate changes")
        base = self.rates[0]

        def in_ratio(lr, now, base_now):
            if lr == base:
                return now == base_now
            # As near as f32, in which they are recorded, can tell.
            return base != 0.0 and math.isclose(now * base, lr * base_now, rel_tol=1e-7)

        if not all(in_ratio(lr, now, rates[0])
                   for rates in self.learning_rates for lr, now in zip(self.rates, rates)):
            return self.learning_rates
        bases = [rates[:1] for rates in self.learning_rates]
        return bases if any(rates != [base] for rates in bases) else []

    def _config_text(self):
        """The config, in TOML."""
        parameters = [self._dtype(parameter, name) for parameter, name in self.parameters()]
        narrow = self.dtypes or any(dtype != torch.float32 for dtype in parameters)
        kept = {"master": self.master, "stochastic_rounding": False} if narrow else {}
        kept |= {"state": self.state} if self.state != "f32" else {}
        kept |= self.lookahead.options() if self.lookahead else {}
        kept |= self.average.options
        return config_text(
            [{"lr": lr} | options for lr, options in zip(self.rates, self.options)],
            self.members, rule=self.reference.rule, kept=kept, clip=self.clip,
            loss_scale=None if self.scaler is None else self._loss_scale(),
            schedule=self.schedule)

    def _loss_scale(self):
        """The config's table of that name."""
        scales = self.reports["scale"]
        if not isinstance(self.scaler, GradScaler):
            return {"init": scales[0], "interval": 0}
        return {"init": scales[0], "growth": float(self.scaler.get_growth_factor()),
                "backoff": float(self.scaler.get_backoff_factor()),
                "interval": self.scaler.get_growth_interval(), "min": min(1.0, *scales)}


def _rate(lr):
    """A learning rate; None where the optimizer sets it by itself."""
    return None if lr is None else float(lr)
