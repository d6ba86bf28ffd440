"""Write the golden traces in this directory anew.

    pip install torch==2.15.0 numpy safetensors==0.8.0 lion-pytorch==0.2.5
    python tests/golden/make.py             # all cases
    python tests/golden/make.py adamw sgd_plain

Each case runs PyTorch's for-loop implementation on made-up gradients and records it with
tools/record_torch.py, whose docstring tells the format. README.md tells what each case proves.
Every run gives the same bytes (on another kind of processor, up to rounding in expect*).
"""

import sys
import zlib
from pathlib import Path

import torch
from lion_pytorch import Lion
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[1] / "tools"))

from record_torch import Recorder  # noqa: E402 (the path must be set first)

# A tensor without dimensions, one and two dimensions, one element more than a block of 256, and
# one without elements.
SHAPES = {"scale": [], "weight": [3, 5], "bias": [7], "embed": [257], "empty": [0]}
SMALL = {"scale": [], "weight": [3, 5], "bias": [7]}


def record(case, kind, options, *, steps=20, shapes=SHAPES, size=0.1, missing=None,
           groups=None, schedule=None):
    """Run one case and write `<case>.safetensors` and `<case>.toml`.

    size      standard deviation of the gradients
    missing   function (step, name): has this tensor no gradient in this step?
    groups    parameter groups, with names for `params`; without it there is one group
    schedule  function from the optimizer to its learning-rate scheduler
    """
    generator = torch.Generator().manual_seed(zlib.crc32(case.encode()))

    def random(shape):  # drawn in float64, where it does not depend on the processor
        return torch.randn(shape, generator=generator, dtype=torch.float64).float()

    parameters = {name: torch.nn.Parameter(random(shape)) for name, shape in shapes.items()}
    groups = [
        group | {"params": [parameters[name] for name in group["params"]]}
        for group in groups or [{"params": list(shapes)}]
    ]
    if kind is not Lion:  # which has the for-loop only
        options = options | {"foreach": False, "fused": False}
    optimizer = kind(groups, **options)
    scheduler = schedule(optimizer) if schedule else None
    recorder = Recorder(optimizer, parameters.items())
    for step in range(1, steps + 1):
        for name, parameter in parameters.items():
            gradient = size * random(parameter.shape)
            if name == "embed":
                gradient[::16] = 0.0  # rows of an embedding that no sample looks up
            parameter.grad = None if missing and missing(step, name) else gradient
        optimizer.step()
        if scheduler:
            scheduler.step()
    recorder.save(HERE / f"{case}.safetensors")


def some_missing(step, name):
    return step == 7 or name == "b" or (name == "a" and step in (1, 4, 5))


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
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
    ),
}


def main():
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        record(case, **CASES[case])
        print(case)


if __name__ == "__main__":
    main()
