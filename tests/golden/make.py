r"""Write the golden traces in this directory anew.

    pip install -r tests/golden/requirements.txt
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
from pathlib import Path

import torch
from pytorch_optimizer import Lookahead
from torch import float32
from torch.amp import GradScaler
from torch.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools")]

from cases import CASES  # noqa: E402 (the path must be set first)
from cases.common import SHAPES  # noqa: E402
from recording import Recorder  # noqa: E402


def record(case, kind, options, *, seed=None, steps=20, shapes=SHAPES, size=0.1, missing=None,
           start=1.0, groups=None, schedule=None, loss_scale=None, planted=None, clip_norm=None,
           clip_value=None, master="none", dtypes=None, grad_dtypes=None, native=False,
           globs=False, sizes=None, drift=None, lookahead=None, average=None, hessian=None,
           frozen=None, config=None, moves=None):
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
    average      by what the parameters are averaged: arguments of that kind for the Recorder
    frozen       function (step, name): is this tensor frozen in this step? It has a gradient in
                 the trace, of which PyTorch sees nothing
    moves        the config's [schedule], where the scheduler moves the momentum too
    config       the config, where it says in other words what the recorder found
    hessian      of estimates of the Hessian: their number of steps `every` and the batch size `bs`;
                 `signed` if they may be negative, else they are squares
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
    named = getattr(kind, "takes_names", False)
    groups = [
        group | {"params": [(name, parameters[name]) if named else parameters[name]
                            for name in group["params"]]}
        for group in groups or [{"params": list(shapes)}]
    ]
    known = inspect.signature(kind).parameters  # not every optimizer has other loops
    options = options | {loop: False for loop in ("foreach", "fused") if loop in known}
    optimizer = kind(groups, **options)
    if hasattr(optimizer, "train"):  # schedule-free
        optimizer.train()
    scheduler = schedule(optimizer) if schedule else None
    optimizer = Lookahead(optimizer, **lookahead) if lookahead else optimizer
    averaged = None
    if average:
        model = torch.nn.ParameterDict(parameters)
        averaged = averaged_model(model, **average)
    initial = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    fixed_scale = isinstance(loss_scale, float)
    arguments = {"init_scale": loss_scale} if fixed_scale else loss_scale or {"enabled": False}
    scaler = GradScaler("cpu", **arguments)
    recorder = Recorder(optimizer, parameters.items(),
                        scaler=loss_scale if fixed_scale else scaler, clip_norm=clip_norm,
                        clip_value=clip_value, master=master, dtypes=dtypes,
                        grad_dtypes=grad_dtypes, average=averaged, schedule=moves, **average or {})
    for step in range(1, steps + 1):
        if hessian and step % hessian["every"] == 1:
            present = {name: parameter for name, parameter in parameters.items()
                       if not (missing and missing(step, name))}
            estimate(optimizer, recorder, present, random, hessian.get("signed"))
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
        for name, parameter in parameters.items():
            if frozen and frozen(step, name):
                parameter.grad = None
        scaler.unscale_(optimizer)
        clip(optimizer, clip_norm, clip_value)
        scaler.step(optimizer, **({"bs": hessian["bs"]} if hessian else {}))
        scaler.update(loss_scale if fixed_scale else None)
        if averaged and is_averaged(step, **average):
            averaged.update_parameters(model)
        if scheduler:
            scheduler.step()
        if master == "none" and not native:
            for name, parameter in parameters.items():
                parameter.data = rounded(parameter.data, name, dtypes)
    path = recorder.save(HERE / f"{case}.safetensors")
    if globs:
        config = path.read_text(encoding="utf-8").replace("\nnames = [", "\ntensors = [")
    if config:
        path.write_text(config, encoding="utf-8", newline="\n")


def averaged_model(model, ema_decay=None, ema_warmup=False, **_):
    """The average, which PyTorch takes by one of its own functions but for a warm-up."""
    if ema_decay is None:
        return AveragedModel(model)
    if not ema_warmup:
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    def update(averages, parameters, n):
        decay = min(ema_decay, (1 + n.item()) / (10 + n.item()))
        get_ema_multi_avg_fn(decay)(averages, parameters, n)

    return AveragedModel(model, multi_avg_fn=update)


def is_averaged(step, swa_start=1, swa_every=1, **_):
    return step >= swa_start and (step - swa_start) % swa_every == 0


def estimate(optimizer, recorder, parameters, random, signed):
    """Give Sophia estimates of the Hessian's diagonal."""
    draws = {name: 0.1 * random(parameter.shape) for name, parameter in parameters.items()}
    if signed:
        recorder.hessian(draws)
        optimizer.estimate({parameters[name]: draw for name, draw in draws.items()})
    else:
        optimizer.zero_grad()
        for name, draw in draws.items():
            parameters[name].grad = draw
        optimizer.update_hessian()


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


def main():
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        record(case, **CASES[case])
        print(case)


if __name__ == "__main__":
    main()
