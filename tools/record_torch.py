"""Record a training run of a PyTorch optimizer as a fallline trace.

A trace holds all that it takes to repeat the run without PyTorch, and what PyTorch made of it.
It is one safetensors file. `t` counts the steps of the run from 1, skipped ones too. Tensors are
F32; those with a * may also be F16 or BF16, a gradient of the same dtype in all steps:

    param/<name>                * the parameter before the first step, as the model sees it
    grad/<t>/<name>             * its gradient in step t, before unscaling and clipping; absent if
                                it had none (`grad is None`), as in 10,000 steps in a row at most
    lr/<t>                      shape [1], lr of param_groups[0] in step t, to which the other
                                groups keep their ratio; or shape [groups], lr of each group, the
                                empty ones too; absent if always that of the config
    expect/<name>               * the parameter after the last step, as the model sees it
    expect_master/<name>        the f32 master copy of a 16-bit parameter after the last step
    expect_state/<slot>/<name>  the optimizer's state after the last step, where it holds any, under
                                PyTorch's names and in PyTorch's shapes: exp_avg, row_var, ...; but
                                for `step`; with Lookahead `slow`, its slow weights, besides
    expect_average/<name>       the moving average of the parameter, with `ema_decay` only
    expect_d                    shape [1], Prodigy's estimate d after the last step
    expect_report/<what>        shape [steps], a value for every step:
        scale                   what its gradients were scaled by; with loss scaling only
        skipped                 1 if it was skipped for an overflow, else 0; with loss scaling only
        norm                    the norm of all unscaled gradients before clipping, maybe inf or
                                NaN; with [clip] norm only

The file's metadata tell `format` (fallline-trace), `torch` (its version), `optimizer` (the class)
and `steps`. The optimizer's config lies beside the trace and ends in `.toml`. Options bear
PyTorch's names; [optimizer] is param_groups[0], each [[group]] the next, with its tensors and
the options that differ:

    [optimizer]
    rule = "adamw"              # or another that `fallline bench --help` lists
    lr = 0.001
    betas = [0.9, 0.999]
    master = "f32"              # how 16-bit parameters are kept: as they are (none), with a copy
                                # in f32, or with the 16 bits that a BF16 lacks of it (remainder),
                                # or 8 of these (remainder8)
    stochastic_rounding = false # of 16-bit parameters without a master
    seed = 0                    # of the stochastic rounding, that of a state in bf16 too
    state = "f32"               # in what the replay keeps the state, in other groups too: a format
                                # of `fallline bench --state`
    min_state_elems = 4096      # smaller tensors keep their state in f32
    lookahead_k = 5             # both or neither: after so many steps of a tensor Lookahead moves
    lookahead_alpha = 0.5       # its slow weights this far to the parameter, which returns to them
    ema_decay = 0.999           # of the moving average of each parameter, a copy in its first step

    [clip]                      # with both, norm first
    norm = 1.0                  # of all gradients; inf only measures it
    value = 0.5

    [loss_scale]                # of torch.amp.GradScaler
    init = 65536.0
    growth = 2.0
    backoff = 0.5
    interval = 2000             # 0: the scale is fixed, and there is no growth, backoff or min
    min = 1.0                   # PyTorch has no such limit; the scale never fell below this one

    [[group]]
    names = ["bias", "scale"]   # whole names; [] where PyTorch's group has no parameters
    tensors = ["*.bias"]        # globs, beside names or instead; the recorder writes names only
    weight_decay = 0.0
    state = "f32"               # instead of [optimizer]'s; min_state_elems likewise
    clip_norm = 0.1             # of this group's gradients, instead of [clip] norm, which then
                                # limits the other groups alone, but is still the norm of all

Record a run of your own. Make the recorder before the first step and save after the last one.
Gradients are taken as `step()` finds them; learning rates may take any course, each group its own,
but nothing else may change (OneCycleLR: with cycle_momentum=False):

    recorder = Recorder(optimizer, model.named_parameters())
    ...                         # the training loop, unchanged
    recorder.save("run.safetensors")

Where they are unscaled or clipped before, say so, and have them taken after every backward pass:

    recorder = Recorder(optimizer, model.named_parameters(), scaler=scaler, clip_norm=1.0)
    ...
        scaler.scale(loss).backward()
        recorder.gradients()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

Give the recorder pytorch-optimizer's Lookahead like any optimizer; and if you keep a moving average
of the parameters, say which and how, where every tensor has a gradient in every step:

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    recorder = Recorder(Lookahead(optimizer, k=5, alpha=0.5), model.named_parameters(),
                        average=average, ema_decay=0.999)

Parameters that the optimizer itself has in fp16 or bf16 are recorded so, with master = "none".
PyTorch then keeps their state in 16 bits too and rounds after every operation, where a replay
computes a step in f32 and rounds the parameter once. They agree in every bit only where PyTorch has
nothing else to round (SGD without momentum and decay, with a power of two for lr). Else try
`--rtol 0.02 --atol 0.01`; Adam's second moment in bf16 is further off, by 4 % after 100 steps of
random gradients and by 30 % after 1,000, since with β₂ = 0.999 it changes by less than half of its
last bit.

Or let a small network fit a synthetic function, with an optimizer of torch.optim or elsewhere:

    python tools/record_torch.py --optimizer AdamW --options lr=1e-3,betas=0.9:0.99 --steps 100
    python tools/record_torch.py --optimizer lion_pytorch.Lion --options weight_decay=0.1
"""

import argparse
import ast
import importlib
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm

FORMATS = (torch.float32, torch.float16, torch.bfloat16)
ADAM_OPTIONS = ("betas", "eps", "weight_decay", "amsgrad", "maximize")
OPTIONS = {  # of each rule, besides lr
    "adamw": ADAM_OPTIONS,
    "adam": ADAM_OPTIONS,
    "sgd": ("momentum", "dampening", "weight_decay", "nesterov", "maximize"),
    "lion": ("betas", "weight_decay"),
    "rmsprop": ("alpha", "eps", "weight_decay", "momentum", "centered", "maximize"),
    "nadam": ("betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay",
              "maximize"),
    "lamb": ("betas", "eps", "weight_decay"),
    "adafactor": ("beta2_decay", "eps", "d", "weight_decay", "maximize"),
    "prodigy": ("betas", "beta3", "eps", "weight_decay", "decouple", "use_bias_correction",
                "safeguard_warmup", "d0", "d_coef", "growth_rate"),
}


class TraceError(Exception):
    """The run cannot be told in the trace format."""


class Recorder:
    """Listens to an optimizer and keeps, on the CPU, what it is given in every step."""

    def __init__(self, optimizer, named_parameters, *, scaler=None, clip_norm=None,
                 clip_value=None, master="none", dtypes=None, grad_dtypes=None, state="f32",
                 average=None, ema_decay=None):
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
        average      the AveragedModel that holds the moving average of the parameters
        ema_decay    its decay, which it does not tell
        """
        self.lookahead = optimizer if _is_lookahead(optimizer) else None
        self.optimizer = optimizer = optimizer.optimizer if self.lookahead else optimizer
        if self.lookahead and self.lookahead.pullback_momentum != "none":
            raise TraceError("Lookahead must leave the momentum alone: pullback_momentum='none'")
        if (average is None) != (ema_decay is None):
            raise TraceError("average and ema_decay go together")
        self.average, self.ema_decay = average, ema_decay
        self.scaler = None if isinstance(scaler, GradScaler) and not scaler.is_enabled() else scaler
        self.clip = {"norm": clip_norm, "value": clip_value}
        self.clip = {key: float(limit) for key, limit in self.clip.items() if limit is not None}
        self.master = master
        self.dtypes = dtypes or {}
        self.grad_dtypes = grad_dtypes or {}
        self.state = state
        self.names = {}  # of every parameter
        for name, parameter in named_parameters:
            if name in self.names.values():
                raise TraceError(f"two parameters bear the name {name!r}")
            self.names[parameter] = name
        for parameter, name in self._parameters():
            self._dtype(parameter, name)
            if _slots(optimizer, parameter):
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
        optimizer.register_step_pre_hook(self._before_step)

    def gradients(self):
        """Take the gradients. Call it in every step, before they are unscaled and clipped."""
        self._take()
        self.taken = True

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
        for parameter, name in self._parameters():
            dtype = self._dtype(parameter, name)
            if dtype == torch.float32 or self.master == "none":
                tensors[f"expect/{name}"] = _copy(parameter, name, dtype)
            else:
                tensors[f"expect_master/{name}"] = master = _copy(parameter, name)
                tensors[f"expect/{name}"] = master.to(dtype)
            slots = _slots(self.optimizer, parameter)
            if self.lookahead and name in self.own_steps:
                slots["slow"] = self.lookahead.state[parameter]["slow_params"]
            for slot, value in slots.items():
                value = _copy(value, f"{slot} of {name}")
                tensors[f"expect_state/{slot}/{name}"] = value
        tensors |= self._averages()
        if _rule(self.optimizer) == "prodigy":
            estimate = self.optimizer.param_groups[0]["d"]
            tensors["expect_d"] = torch.tensor([estimate], dtype=torch.float32)

        path, kind = Path(path), type(self.optimizer).__name__
        metadata = {"format": "fallline-trace", "torch": str(torch.__version__),
                    "optimizer": kind, "steps": str(self.steps)}
        path.write_bytes(_sort_metadata(save(tensors, metadata)))
        rule = _rule(self.optimizer)
        if rule is None:
            print(f"no config: it knows no rule that is this {kind}")
            return None
        config_path = path.with_suffix(".toml")
        config_path.write_text(self._config_text(rule), encoding="utf-8", newline="\n")
        return config_path

    def _averages(self):
        """What `expect_average` holds."""
        if self.average is None:
            return {}
        taken = self.steps - int(sum(self.reports["skipped"]))
        if self.average.n_averaged != taken:
            raise TraceError(f"average was updated {int(self.average.n_averaged)} times in {taken} "
                             "steps: update it after every one")
        for name, own in self.own_steps.items():
            if own != taken:
                raise TraceError(f"{name} made {own} of {taken} steps: without a gradient PyTorch "
                                 "goes on to average it, and a replay does not")
        return {f"expect_average/{name}": _copy(value, f"average of {name}")
                for name, value in self.average.module.named_parameters() if name in self.own_steps}

    def _parameters(self):
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
        """Count the steps of every parameter. Lookahead counts those of a group."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                name = self.names[parameter]
                own = self.own_steps[name] = self.own_steps.get(name, 0) + 1
                if not self.lookahead:
                    continue
                k = self.lookahead.k
                if (own % k == 0) != (group["counter"] + 1 >= k):
                    raise TraceError(f"{name} was without a gradient: in its step {own} Lookahead "
                                     f"and a replay, which goes by {k} steps of a tensor, part")

    def _alters_gradients(self):
        """Does anything happen to the gradients between backward pass and step?"""
        own = any("clip_norm" in group for group in self.optimizer.param_groups)
        return self.scaler is not None or bool(self.clip) or own

    def _take(self):
        """Begin a step: take parameters and gradients."""
        self._check_groups()
        self.steps += 1
        self.learning_rates.append([float(group["lr"]) for group in self.optimizer.param_groups])
        scale = self._scale()
        unscaled = []
        for parameter, name in self._parameters():
            if self.steps == 1:
                copy = _copy(parameter, name, self._dtype(parameter, name))
                self.tensors[f"param/{name}"] = copy
            if parameter.grad is not None:
                dtype = self.grad_dtypes.get(name, parameter.grad.dtype)
                copy = _copy(parameter.grad, f"{name}.grad", dtype)
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
        """During a run the learning rates may change; nothing else may."""
        groups, step = self.optimizer.param_groups, self.steps + 1
        options = [_options(self.optimizer, group) for group in groups]
        members = [[self.names.get(parameter) for parameter in group["params"]] for group in groups]
        if self.steps == 0:
            self.options, self.members = options, members
            # A scheduler keeps the rate it starts from in initial_lr.
            self.rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
        if len(groups) != len(self.options):
            raise TraceError(f"there are {len(groups)} groups in step {step}, and were "
                             f"{len(self.options)}: a trace has the same in all steps")
        for index, (before, now) in enumerate(zip(self.options, options)):
            if members[index] != self.members[index]:
                raise TraceError(f"group {index} has other parameters in step {step} than before: "
                                 "a trace has the same in all steps")
            for name in before | now:
                if before.get(name) != now.get(name):
                    hint = "; OneCycleLR and CyclicLR need cycle_momentum=False"
                    raise TraceError(f"{name} of group {index} is {now.get(name)} in step {step}, "
                                     f"and was {before.get(name)}: only lr may change in a run"
                                     + (hint if name in ("momentum", "betas") else ""))

    def _recorded_rates(self):
        """What `lr/<t>` holds, in every step; nothing if the config tells the rates."""
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

    def _config_text(self, rule):
        """The config, in TOML."""
        tables = [{"lr": lr} | options for lr, options in zip(self.rates, self.options)]
        parameters = [self._dtype(parameter, name) for parameter, name in self._parameters()]
        narrow = self.dtypes or any(dtype != torch.float32 for dtype in parameters)
        kept = {"master": self.master, "stochastic_rounding": False} if narrow else {}
        kept |= {"state": self.state} if self.state != "f32" else {}
        if self.lookahead:
            kept |= {"lookahead_k": self.lookahead.k,
                     "lookahead_alpha": float(self.lookahead.alpha)}
        kept |= {"ema_decay": float(self.ema_decay)} if self.average is not None else {}
        lines = ["[optimizer]", *_toml({"rule": rule} | tables[0] | kept)]
        if self.clip:
            lines += ["", "[clip]", *_toml(self.clip)]
        if self.scaler is not None:
            lines += ["", "[loss_scale]", *_toml(self._loss_scale())]
        for number, (names, table) in enumerate(zip(self.members[1:], tables[1:]), start=1):
            for key in tables[0].keys() - table.keys():
                raise TraceError(f"{key} of group {number} is None, and in the config it would "
                                 f"inherit group 0's {tables[0][key]}")
            own = {key: value for key, value in table.items() if value != tables[0].get(key)}
            lines += ["", "[[group]]", *_toml({"names": names} | own)]
        return "\n".join(lines) + "\n"

    def _loss_scale(self):
        """The config's table of that name."""
        scales = self.reports["scale"]
        if not isinstance(self.scaler, GradScaler):
            return {"init": scales[0], "interval": 0}
        return {"init": scales[0], "growth": float(self.scaler.get_growth_factor()),
                "backoff": float(self.scaler.get_backoff_factor()),
                "interval": self.scaler.get_growth_interval(), "min": min(1.0, *scales)}


def _copy(tensor, what, dtype=torch.float32):
    """A contiguous copy on the CPU, with the same values in `dtype`."""
    if tensor.dtype not in FORMATS or tensor.layout != torch.strided:
        raise TraceError(f"{what}: {tensor.dtype}, {tensor.layout}; only dense float32, float16 and "
                         "bfloat16 will do")
    tensor = tensor.detach().to("cpu", copy=True).contiguous()
    copy = tensor.to(dtype)
    if not torch.allclose(copy.float(), tensor.float(), rtol=0.0, atol=0.0, equal_nan=True):
        raise TraceError(f"{what}: {dtype} does not hold its values")
    return copy


def _sort_metadata(file):
    """safetensors writes its metadata in random order; equal runs shall give equal files."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return file[:8] + text.ljust(end - 8) + file[end:]


def _slots(optimizer, parameter):
    """What the optimizer keeps for a parameter, but for the number of its steps."""
    state = optimizer.state.get(parameter, {})
    slots = {slot: value for slot, value in state.items()
             if slot != "step" and isinstance(value, torch.Tensor)}
    if _rule(optimizer) == "prodigy":  # has these flat, and a single 0 for a parameter of zeros
        slots |= {slot: value.broadcast_to(parameter.numel()).reshape(parameter.shape)
                  for slot, value in slots.items() if slot in ("s", "p0")}
    return slots


def _is_lookahead(optimizer):
    kind = type(optimizer)
    return kind.__name__ == "Lookahead" and kind.__module__.startswith("pytorch_optimizer.")


def _rule(optimizer):
    """The config's name for what the optimizer does, or None. Subclasses may do anything."""
    kind = type(optimizer)
    if kind in (torch.optim.Adam, torch.optim.AdamW):
        decoupled = {group["decoupled_weight_decay"] for group in optimizer.param_groups}
        return {(False,): "adam", (True,): "adamw"}.get(tuple(decoupled))
    if kind in (torch.optim.SGD, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.Adafactor):
        return kind.__name__.lower()
    if kind.__name__ == "OptaxLamb":  # of tests/golden/make.py
        return "lamb"
    if kind.__name__ == "Lion" and kind.__module__.startswith("lion_pytorch."):
        return "lion"
    if kind.__name__ == "Prodigy" and kind.__module__.startswith("prodigyopt."):
        return "prodigy"
    return None


def _options(optimizer, group):
    """The options of a group, but for lr, as the config states them."""
    rule = _rule(optimizer)
    options = {}
    for name in OPTIONS.get(rule, ()):
        value = group[name]
        if name == "eps" and isinstance(value, (list, tuple)):
            if value[0] is not None:
                options[name] = [float(eps) for eps in value]
            elif value[1] != 1e-3:
                raise TraceError(f"eps is {value}: the config has no None beside another than 1e-3")
        elif name == "betas":
            options[name] = [float(beta) for beta in value]
        elif value is not None:  # the config has no None, which stands for what is not told
            options[name] = value if isinstance(value, bool) else float(value)
    if rule == "lion" and optimizer.decoupled_wd:  # lion-pytorch then divides in every step
        options["weight_decay"] /= optimizer._init_lr
    if rule == "prodigy" and (group["slice_p"] != 1 or group["fsdp_in_use"]):
        raise TraceError("Prodigy must look at every element, and at all of a parameter: with "
                         "slice_p=1 and without fsdp_in_use")
    if "clip_norm" in group:
        options["clip_norm"] = float(group["clip_norm"])
    return options


def _toml(table):
    """The lines of a TOML table: JSON's strings, finite numbers, booleans and arrays are TOML, but
    for a character that TOML has escaped."""
    return [
        f"{key} = {'inf' if value == math.inf else json.dumps(value, ensure_ascii=False)}"
        .replace("\x7f", "\\u007f")
        for key, value in table.items()
    ]


def _parse_options(text):
    """Parse `lr=1e-3,betas=0.9:0.99,amsgrad=True` into keyword arguments."""
    options = {}
    for name, _, value in (assignment.partition("=") for assignment in text.split(",")):
        parts = [ast.literal_eval(part) for part in value.split(":")]
        options[name] = parts[0] if len(parts) == 1 else tuple(parts)
    return options


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--optimizer", default="AdamW", help="of torch.optim, or module.Class")
    parser.add_argument("--options", default={}, type=_parse_options, help="lr=1e-3,amsgrad=True")
    parser.add_argument("--steps", default=100, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--state", default="f32", help="in what a replay shall keep the state")
    parser.add_argument("--out", default="run.safetensors", type=Path, help="the trace to write")
    arguments = parser.parse_args()

    module, _, name = arguments.optimizer.rpartition(".")
    kind = getattr(importlib.import_module(module or "torch.optim"), name)
    torch.manual_seed(arguments.seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 24), torch.nn.Tanh(), torch.nn.Linear(24, 4))
    optimizer = kind(model.parameters(), **arguments.options)
    recorder = Recorder(optimizer, model.named_parameters(), state=arguments.state)
    for _ in range(arguments.steps):
        x = torch.randn(32, 8)
        y = torch.stack([x[:, 0] * x[:, 1], x.sum(1), x[:, 2].sin(), x.norm(dim=1)], dim=1)
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    config = recorder.save(arguments.out)

    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.out}: {arguments.steps} steps of {name} on {size} parameters, "
          f"last loss {loss.item():.4f}, {arguments.out.stat().st_size} bytes")
    if config:
        print(f"{config}: the optimizer's config")


if __name__ == "__main__":
    main()
