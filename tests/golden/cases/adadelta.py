"""Adadelta."""

from torch.optim import Adadelta

from .common import FULL, SHAPES, cosine, late

CASES = {
    "adadelta": dict(kind=Adadelta, options={}, steps=40, shapes=SHAPES),  # PyTorch's defaults
    "adadelta_options": dict(
        kind=Adadelta,
        options=dict(lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.1, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=2.0, rho=0.95, eps=1e-4, weight_decay=0.0),
        ],
        schedule=cosine,
    ),
}
