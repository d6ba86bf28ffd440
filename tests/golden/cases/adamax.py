"""Adamax."""

from torch.optim import Adamax

from .common import FULL, SHAPES, cosine, late

CASES = {
    "adamax": dict(kind=Adamax, options={}, steps=40, shapes=SHAPES),  # PyTorch's defaults
    "adamax_options": dict(
        kind=Adamax,
        # The infinity norm falls fast, so that eps within its maximum counts in `embed`, 16 of
        # whose gradients are zero.
        options=dict(lr=1e-2, betas=(0.8, 0.7), eps=1e-2, weight_decay=0.1, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.0),
        ],
        schedule=cosine,
    ),
}
