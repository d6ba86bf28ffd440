"""Rprop, whose learning rate is the size of a tensor's first step and counts no more after that."""

from torch.optim import Rprop

from .common import FULL, SHAPES, late

CASES = {
    "rprop": dict(kind=Rprop, options={}, steps=40, shapes=SHAPES),  # PyTorch's defaults
    "rprop_options": dict(
        kind=Rprop,
        options=dict(lr=0.03, etas=(0.6, 1.4), step_sizes=(1e-3, 0.05), maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=0.05, etas=(0.3, 1.1), step_sizes=(1e-2, 0.1)),
        ],
    ),
}
