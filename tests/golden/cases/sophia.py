"""Sophia."""

from sophia_opt import SophiaG

from .adapters import Hutchinson
from .common import EXACT, FULL, cosine, late

CASES = {
    # Its defaults, but for lr and decay.
    "sophia": dict(
        kind=SophiaG,
        options=EXACT,
        steps=40,
        shapes=FULL,
        hessian=dict(every=10, bs=1024),
    ),
    "sophia_hutchinson": dict(
        kind=Hutchinson,
        options=dict(lr=1e-2, betas=(0.9, 0.9), rho=1.0, weight_decay=0.5),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, betas=(0.8, 0.7), rho=0.3, weight_decay=0.0),
        ],
        schedule=cosine,
        hessian=dict(every=10, bs=1, signed=True),
    ),
}
