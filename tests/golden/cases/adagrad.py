"""Adagrad."""

from torch.optim import Adagrad

from .common import FULL, SHAPES, cosine, late

CASES = {
    "adagrad": dict(kind=Adagrad, options={}, steps=40, shapes=SHAPES),  # PyTorch's defaults
    "adagrad_options": dict(
        kind=Adagrad,
        options=dict(lr=0.05, lr_decay=0.05, initial_accumulator_value=0.1, eps=1e-3,
                     weight_decay=0.1, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        # PyTorch takes initial_accumulator_value of no group but of the optimizer.
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=0.02, lr_decay=0.3, eps=1e-6, weight_decay=0.0),
        ],
        schedule=cosine,
    ),
}
