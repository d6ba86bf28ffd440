"""Adan."""

from pytorch_optimizer import Adan

from .adapters import per_tensor
from .common import EXACT, FULL, SHAPES, cosine, late

CASES = {
    # Its defaults, but for lr and decay.
    "adan": dict(kind=Adan, options=EXACT, steps=40, shapes=SHAPES),
    "adan_no_prox": dict(
        kind=per_tensor(Adan),
        options=dict(lr=1e-2, betas=(0.9, 0.8, 0.95), eps=1e-3, weight_decay=0.1,
                     weight_decouple=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias"], lr=3e-2, betas=(0.98, 0.92, 0.99), eps=1e-5, weight_decay=0.0),
            dict(params=["conv"], lr=5e-3, weight_decay=0.5, weight_decouple=False),
        ],
        schedule=cosine,
    ),
}
