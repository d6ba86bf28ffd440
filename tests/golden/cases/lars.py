"""LARS."""

import optax
from recording.optax_torch import optax_optimizer

from .common import FULL, SHAPES, cosine, late

Lars = optax_optimizer(optax.lars)

CASES = {
    # Its defaults, but for the decay; a parameter of zeros.
    "lars": dict(
        kind=Lars,
        options=dict(lr=1.0, weight_decay=0.1),
        steps=40,
        shapes=SHAPES | {"zero": [6]},
    ),
    "lars_nesterov": dict(
        kind=Lars,
        options=dict(lr=0.3, momentum=0.8, weight_decay=0.1, trust_coefficient=0.05, eps=0.3,
                     nesterov=True),
        steps=40,
        shapes=FULL | {"zero": [6]},
        missing=late,
        size=lambda step: 0.0 if step == 7 else 0.1,
        groups=[
            dict(params=["weight", "embed", "scale", "zero"]),
            dict(params=["bias", "conv"], lr=0.1, momentum=0.95, weight_decay=0.0,
                 trust_coefficient=0.02, eps=0.0, nesterov=False),
        ],
        schedule=cosine,
    ),
}
