r"""Write the golden traces in this directory anew.

    pip install torch==2.15.0 numpy safetensors==0.8.0 lion-pytorch==0.2.5 optax==0.2.8 \
        jax==0.10.2 prodigyopt==1.1.2 pytorch-optimizer==4.1.0
    python tests/golden/make.py             # all cases
    python tests/golden/make.py adamw sgd_plain

Each case runs PyTorch's for-loop implementation on made-up gradients and records it with
tools/record_torch.py, whose docstring tells the format. README.md tells what each case proves.
Parameters and gradients of 16 bits are widened for PyTorch, which loses nothing; where they are
not, the case is `native`.
Every run gives the same bytes (on another kind of processor, up to rounding in expect*).
"""

import inspect
import sys
import zlib
from math import inf, nan
from pathlib import Path

import jax
import numpy
import optax
import torch
from lion_pytorch import Lion
from prodigyopt import Prodigy
from pytorch_optimizer import Lookahead
from torch import bfloat16, float16, float32
from torch.amp import GradScaler
from torch.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from torch.optim import SGD, Adafactor, Adam, AdamW, NAdam, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[1] / "tools"))

from record_torch import Recorder  # noqa: E402 (the path must be set first)

# A tensor without dimensions, one and two dimensions, one element more than a block of 256, and
# one without elements.
SHAPES = {"scale": [], "weight": [3, 5], "bias": [7], "embed": [257], "empty": [0]}
SMALL = {"scale": [], "weight": [3, 5], "bias": [7]}
SHORT = SMALL | {"empty": [0]}


def record(case, kind, options, *, seed=None, steps=20, shapes=SHAPES, size=0.1, missing=None,
           start=1.0, groups=None, schedule=None, loss_scale=None, planted=None, clip_norm=None,
           clip_value=None, master="none", dtypes=None, grad_dtypes=None, native=False,
           globs=False, sizes=None, drift=None, lookahead=None, ema_decay=None):
    """Run one case and write `<case>.safetensors` and `<case>.toml`.

    seed         a text, on which the random numbers depend; without it the case's name. Where a
                 parameter is rounded to 16 bits, one with which none comes close to a tie
    size         standard deviation of the gradients, or a function of the step
    missing      function (step, name): has this tensor no gradient in this step?
    start        standard deviation of the initial parameters
    groups       parameter groups, with names for `params`; without it there is one group
    schedule     function from the optimizer to its learning-rate scheduler
    loss_scale   arguments of the GradScaler, or a fixed scale
    planted      by step: by name: what the middle element of the scaled gradient is then
    clip_norm, clip_value, master, dtypes, grad_dtypes   as for the Recorder
    native       PyTorch has parameters in dtypes itself, instead of widened
    globs        the config's groups list their tensors as globs, which plain names are too; without
                 it as the recorder writes them, by names
    sizes        by name: by what the gradients of this tensor are multiplied
    drift        function of the step: how much of the initial parameters is added to the gradients,
                 so that there is a way downhill
    lookahead    arguments of Lookahead
    ema_decay    of the moving average of the parameters
    """
    generator = torch.Generator().manual_seed(zlib.crc32((seed or case).encode()))
    dtypes, grad_dtypes, planted = dtypes or {}, grad_dtypes or {}, planted or {}
    sizes = sizes or {}

    def random(shape):  # drawn in float64, where it does not depend on the processor
        return torch.randn(shape, generator=generator, dtype=torch.float64).float()

    def rounded(tensor, name, dtypes):
        return tensor.to(dtypes.get(name, float32)).float()

    parameters = {
        name: torch.nn.Parameter(
            rounded((0.0 if name == "zero" else start) * random(shape), name, dtypes))
        for name, shape in shapes.items()
    }
    if native:
        for name, parameter in parameters.items():
            parameter.data = parameter.data.to(dtypes[name])
    groups = [
        group | {"params": [parameters[name] for name in group["params"]]}
        for group in groups or [{"params": list(shapes)}]
    ]
    known = inspect.signature(kind).parameters  # not every optimizer has other loops
    options = options | {loop: False for loop in ("foreach", "fused") if loop in known}
    optimizer = kind(groups, **options)
    scheduler = schedule(optimizer) if schedule else None
    optimizer = Lookahead(optimizer, **lookahead) if lookahead else optimizer
    average = None
    if ema_decay is not None:
        model = torch.nn.ParameterDict(parameters)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
    initial = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    fixed_scale = isinstance(loss_scale, float)
    arguments = {"init_scale": loss_scale} if fixed_scale else loss_scale or {"enabled": False}
    scaler = GradScaler("cpu", **arguments)
    recorder = Recorder(optimizer, parameters.items(),
                        scaler=loss_scale if fixed_scale else scaler, clip_norm=clip_norm,
                        clip_value=clip_value, master=master, dtypes=dtypes,
                        grad_dtypes=grad_dtypes, average=average, ema_decay=ema_decay)
    for step in range(1, steps + 1):
        for name, parameter in parameters.items():
            gradient = (size(step) if callable(size) else size) * random(parameter.shape)
            if drift:
                gradient += drift(step) * initial[name]
            gradient *= sizes.get(name, 1.0)
            if name == "embed":
                gradient[::16] = 0.0  # rows of an embedding that no sample looks up
            gradient = rounded(scaler.scale(gradient), name, grad_dtypes)
            if name in planted.get(step, {}):
                gradient.view(-1)[gradient.numel() // 2] = planted[step][name]
            parameter.grad = None
            if not (missing and missing(step, name)):
                parameter.grad = gradient.to(parameter.dtype)
        recorder.gradients()
        scaler.unscale_(optimizer)
        clip(optimizer, clip_norm, clip_value)
        scaler.step(optimizer)
        scaler.update(loss_scale if fixed_scale else None)
        if average:
            average.update_parameters(model)
        if scheduler:
            scheduler.step()
        if master == "none" and not native:
            for name, parameter in parameters.items():
                parameter.data = rounded(parameter.data, name, dtypes)
    config = recorder.save(HERE / f"{case}.safetensors")
    if globs:
        text = config.read_text(encoding="utf-8").replace("\nnames = [", "\ntensors = [")
        config.write_text(text, encoding="utf-8", newline="\n")


def clip(optimizer, norm, value):
    """Clip as a training loop does, with PyTorch's functions."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own = [group for group in optimizer.param_groups if "clip_norm" in group]
    if own:  # the rest is measured together with the groups that have limits of their own
        total = get_total_norm(p.grad for p in parameters if p.grad is not None)
        rest = [g for g in optimizer.param_groups if "clip_norm" not in g]
        clip_grads_with_norm_([p for group in rest for p in group["params"]], norm, total)
        for group in own:
            clip_grad_norm_(group["params"], group["clip_norm"])
    elif norm is not None:
        clip_grad_norm_(parameters, norm)
    if value is not None:
        clip_grad_value_(parameters, value)


class OptaxLamb(torch.optim.Optimizer):
    """optax.lamb, which has no counterpart in PyTorch, a state for each tensor."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.states = {}

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lamb = optax.lamb(group["lr"], *group["betas"], eps=group["eps"],
                              weight_decay=group["weight_decay"])
            for param in group["params"]:
                if param.grad is None:
                    continue
                now = jax.numpy.asarray(param.numpy())
                state = self.states.get(param) or lamb.init(now)
                grad = jax.numpy.asarray(param.grad.numpy())
                updates, state = lamb.update(grad, state, now)
                param.copy_(torch.tensor(numpy.array(optax.apply_updates(now, updates))))
                self.states[param] = state
                self.state[param] = {"exp_avg": torch.tensor(numpy.array(state[0].mu)),
                                     "exp_avg_sq": torch.tensor(numpy.array(state[0].nu))}


def some_missing(step, name):
    return step == 7 or name == "b" or (name == "a" and step in (1, 4, 5))


def some_missing_amp(step, name):
    if step == 15:
        return name != "a"
    absent = {"a": (1, 5), "b": (1, 2, 3, 5), "c": (4, 9, 10), "empty": (2, 3)}
    return step != 7 if name == "late" else step in absent[name]


def waves(size):
    """Gradients of a size that goes up and down."""
    return lambda step: size * (0.25, 0.5, 1.0, 2.0, 1.0, 0.5)[step % 6]


F16 = dict.fromkeys(SHAPES, float16)
BF16 = dict.fromkeys(SHAPES, bfloat16)
BF16_MASTER = dict(
    kind=AdamW,
    options=dict(lr=2e-4, weight_decay=0.1),
    seed="bf16_master 22",
    steps=40,
    dtypes=BF16,
    grad_dtypes=BF16,
)

CASES = {
    "adamw": dict(kind=AdamW, options={}, steps=40),  # PyTorch's defaults
    "adamw_amsgrad": dict(
        kind=AdamW,
        options=dict(lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True),
    ),
    "adamw_maximize": dict(kind=AdamW, options=dict(lr=1e-2, weight_decay=0.1, maximize=True)),
    "adamw_long": dict(
        kind=AdamW,
        options=dict(lr=1e-2),
        steps=300,
        shapes={"bias": [11], "weight": [4, 3]},
        size=3.0,
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=300, eta_min=1e-4),
    ),
    "adam": dict(kind=Adam, options=dict(lr=1e-2, weight_decay=0.1)),
    "adam_amsgrad": dict(
        kind=Adam,
        options=dict(lr=1e-2, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True),
    ),
    "sgd_plain": dict(kind=SGD, options=dict(lr=0.1, weight_decay=0.1)),
    "sgd_momentum": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    ),
    "sgd_nesterov": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True),
    ),
    "sgd_missing_first": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.5),
        shapes=SMALL,
        missing=lambda step, name: step == 1 and name == "weight",
    ),
    "lion": dict(kind=Lion, options=dict(lr=1e-2, weight_decay=0.1)),
    "rmsprop": dict(kind=RMSprop, options=dict(lr=1e-2, weight_decay=0.1)),
    "rmsprop_centered": dict(
        kind=RMSprop,
        options=dict(lr=1e-3, alpha=0.9, eps=1e-4, momentum=0.9, centered=True, maximize=True),
        steps=40,
    ),
    "nadam": dict(kind=NAdam, options=dict(weight_decay=0.1), steps=40),
    "nadam_decoupled": dict(
        kind=NAdam,
        options=dict(lr=1e-2, betas=(0.8, 0.99), weight_decay=0.1, momentum_decay=0.1,
                     decoupled_weight_decay=True),
        shapes=SMALL,
        missing=lambda step, name: name == "weight" and step in (1, 5, 6),
    ),
    "lamb": dict(kind=OptaxLamb, options=dict(lr=1e-2), steps=40),
    "lamb_decay": dict(
        kind=OptaxLamb,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1),
        shapes=SHAPES | {"zero": [6]},
        missing=lambda step, name: name == "weight" and step in (1, 5, 6),
    ),
    "adafactor": dict(  # PyTorch's defaults
        kind=Adafactor,
        options={},
        steps=40,
        shapes=SMALL | {"embed": [257], "conv": [3, 2, 5, 7], "large": [70, 300], "line": [1, 9],
                        "column": [6, 1], "zero": [6], "tiny": [4, 6], "faint": [5]},
        sizes=dict(tiny=1e-3, faint=1e-7),
        missing=lambda step, name: name == "large" and step not in (1, 2, 30),
    ),
    "adafactor_options": dict(
        kind=Adafactor,
        options=dict(lr=0.9, beta2_decay=-0.5, eps=(1e-7, 1e-3), d=1.5, weight_decay=0.1,
                     maximize=True),
        shapes=SMALL | {"conv": [3, 2, 5, 7], "tiny": [4, 6], "faint": [5]},
        sizes=dict(tiny=1e-3, faint=1e-7),
        size=waves(0.1),
        missing=lambda step, name: step in dict(weight=[1, 5, 6], bias=[2, 9]).get(name, [7]),
        groups=[
            dict(params=["weight", "conv", "tiny"]),
            # With large steps a single number nearly cancels again and again.
            dict(params=["bias", "faint", "scale"], lr=0.05, beta2_decay=-0.8, eps=(1e-3, 0.3),
                 d=1.0, weight_decay=0.0),
        ],
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=20, eta_min=2e-3),
    ),
    # What f32 loses of p0 - p stays in d: the parameters are small, so that it is little.
    "prodigy": dict(  # its defaults
        kind=Prodigy,
        options={},
        steps=40,
        shapes=SHAPES | {"zero": [6]},
        start=1e-4,
        drift=lambda step: 1e3 if step <= 10 else 0.0,
    ),
    "prodigy_options": dict(
        kind=Prodigy,
        options=dict(lr=0.5, betas=(0.8, 0.99), eps=1e-2, weight_decay=3.0,
                     use_bias_correction=True, safeguard_warmup=True, d0=1e-5, d_coef=30.0,
                     growth_rate=1.1875),  # f32 has it: a rounded one would be rounded in every step
        steps=40,
        shapes=SMALL | {"zero": [6]},
        start=1e-4,
        # No gradient at all in step 7; all of them 0 in the first, when there is no d to be had.
        size=lambda step: 0.0 if step == 1 else 0.1,
        drift=lambda step: 1e4 if 1 < step <= 30 else 0.0,
        missing=lambda step, name: step in dict(weight=[5, 6, 7], bias=[1, 2, 3, 7]).get(name, [7]),
    ),
    "prodigy_coupled": dict(
        kind=Prodigy,
        options=dict(lr=2.0, beta3=0.9, weight_decay=0.1, decouple=False, d0=1e-5),
        shapes=SMALL,
        start=1e-3,
        drift=lambda step: 1e2 if step <= 6 else 0.0,
        groups=[dict(params=["weight", "scale"]), dict(params=["bias"], weight_decay=0.0)],
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
    ),
    "lookahead": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=23,
        lookahead=dict(k=5, alpha=0.8),
        # Lookahead counts a group's steps, a replay a tensor's: they agree where k are left out.
        missing=lambda step, name: step in dict(weight=range(3, 8), bias=range(6)).get(name, []),
    ),
    "ema": dict(kind=SGD, options=dict(lr=0.1, momentum=0.9), ema_decay=0.9),
    "lookahead_ema": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        shapes=SHORT,
        lookahead=dict(k=3, alpha=0.5),
        ema_decay=0.8,
    ),
    "missing_grads": dict(
        kind=AdamW,
        options=dict(lr=1e-2),
        shapes={"a": [3, 5], "b": [7], "c": []},
        missing=some_missing,
    ),
    "groups": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        shapes=SMALL,
        groups=[
            dict(params=["weight"]),
            dict(params=["bias"], lr=1e-3, weight_decay=0.0, betas=(0.8, 0.99)),
            dict(params=["scale"], lr=3e-2, eps=1e-2),
        ],
        globs=True,
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
    ),
    "groups_cosine": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        shapes={"a*": [3, 5], "az": [7], "block[0].w": [4], "block0.w": [4], "{": []},
        groups=[
            dict(params=["az"]),
            dict(params=["a*", "{"], lr=3e-2, weight_decay=0.0),
            dict(params=[], lr=1e-1),
            dict(params=["block[0].w"], lr=1e-3),
            dict(params=["block0.w"], lr=2e-2),
        ],
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=30, eta_min=2e-3),
    ),
    "amp_fp16": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        loss_scale=dict(init_scale=2.0**15, growth_interval=4),
        planted={
            1: {"weight": inf},
            10: {"scale": nan},
            11: {"embed": -inf},
            19: {"bias": nan},
            30: {"embed": inf},
        },
        grad_dtypes=F16,
    ),
    "amp_clip": dict(
        kind=AdamW,
        options=dict(lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True),
        steps=30,
        shapes=SHORT,
        size=waves(0.2),
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
        loss_scale=dict(init_scale=3e4, growth_factor=1.7, backoff_factor=0.3, growth_interval=3),
        planted={
            5: {"weight": nan, "bias": inf},
            6: {"scale": -inf},
            15: {"weight": inf},
            16: {"bias": -inf},
        },
        clip_norm=1.0,
        grad_dtypes=F16,
    ),
    "amp_sgd_first": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1),
        shapes=SHORT,
        loss_scale=dict(init_scale=2.0**16, growth_interval=5),
        planted={1: {"bias": inf}},
        grad_dtypes=F16,
    ),
    "amp_lion": dict(
        kind=Lion,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        size=waves(0.1),
        loss_scale=dict(init_scale=2.0**20, growth_interval=3),
        clip_norm=1.0,
        grad_dtypes=F16,
    ),
    "amp_missing": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=24,
        shapes={"a": [3, 5], "b": [7], "c": [], "late": [6], "empty": [0]},
        size=waves(0.2),
        missing=some_missing_amp,
        loss_scale=dict(init_scale=2.0**14, growth_interval=3),
        planted={
            4: {"b": nan},
            7: {"late": inf},
            12: {"c": -inf},
            15: {"a": inf},
        },
        clip_norm=0.8,
        grad_dtypes=dict.fromkeys(("a", "b", "c", "late", "empty"), float16),
    ),
    "amp_fixed": dict(
        kind=Adam,
        options=dict(lr=1e-2, weight_decay=0.1),
        shapes=SHORT,
        loss_scale=100.0,
        planted={3: {"scale": inf}, 12: {"weight": nan}, 13: {"weight": nan}},
    ),
    "clip_norm": dict(
        kind=Adam,
        options=dict(lr=1e-2, weight_decay=0.1),
        size=lambda step: 0.0 if step == 5 else waves(0.1)(step),
        clip_norm=1.0,
    ),
    "clip_value": dict(kind=AdamW, options=dict(lr=1e-2, weight_decay=0.1), clip_value=0.15),
    "clip_both": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9),
        shapes=SHORT,
        size=waves(0.5),
        clip_norm=1.0,
        clip_value=0.25,
    ),
    "clip_groups": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, weight_decay=0.1),
        groups=[
            dict(params=["weight", "empty"]),
            dict(params=["embed", "scale"], clip_norm=0.8),
            dict(params=["bias"], lr=0.03),
        ],
        globs=True,
        size=waves(0.1),
        clip_norm=1.0,
    ),
    "clip_inf": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        shapes=SHORT,
        clip_norm=inf,
    ),
    "bf16_master": BF16_MASTER | dict(master="f32"),
    "bf16_remainder": BF16_MASTER | dict(master="remainder"),
    "bf16_plain": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        seed="bf16_plain 7",
        shapes=SHORT,
        dtypes=BF16,
        grad_dtypes=BF16,
    ),
    "bf16_sgd": dict(
        kind=SGD,
        options=dict(lr=0.125),  # PyTorch rounds the product, too, which this keeps exact
        dtypes=BF16,
        native=True,
    ),
    "fp16_master": dict(
        kind=AdamW,
        options=dict(lr=1e-4, weight_decay=0.1),
        seed="fp16_master 8",
        steps=30,
        loss_scale=dict(init_scale=2.0**16, growth_interval=4),
        planted={6: {"embed": inf}, 18: {"scale": nan}},
        master="f32",
        dtypes=F16,
        grad_dtypes=F16,
    ),
    "fp16_tiny": dict(  # most of the parameters and gradients are subnormal
        kind=AdamW,
        options=dict(lr=1e-5, eps=1e-12, weight_decay=0.1),
        seed="fp16_tiny 24",
        shapes=SHORT,
        size=1e-6,
        start=3e-5,
        loss_scale=32.0,
        master="f32",
        dtypes=F16,
        grad_dtypes=F16,
    ),
    "mixed": dict(
        kind=AdamW,
        options=dict(lr=1e-3, weight_decay=0.1),
        seed="mixed 9",
        steps=30,
        shapes=SHAPES | {"head": [2, 9]},
        size=waves(0.1),
        loss_scale=dict(init_scale=2.0**14, growth_interval=4),
        planted={7: {"scale": inf}, 12: {"weight": -inf}, 21: {"bias": nan}},
        clip_norm=1.0,
        master="f32",
        dtypes=dict(weight=float16, bias=bfloat16, embed=float16, empty=bfloat16),
        grad_dtypes=dict(scale=bfloat16, bias=float16, embed=bfloat16, empty=bfloat16,
                         head=float16),
    ),
}


def main():
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        record(case, **CASES[case])
        print(case)


if __name__ == "__main__":
    main()
