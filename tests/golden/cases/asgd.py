"""ASGD."""

from torch.optim import ASGD

from .common import FULL, SHAPES, cosine, late

CASES = {
    # With PyTorch's own lambd of 1e-4 a step decays a parameter by some ulps. What f32 rounds off
    # there is the same in every step, and adds up to more than anything else does.
    "asgd": dict(kind=ASGD, options=dict(lambd=1e-2), steps=40, shapes=SHAPES),
    "asgd_options": dict(
        kind=ASGD,
        options=dict(lr=0.1, lambd=1e-2, alpha=0.5, t0=10.0, weight_decay=0.1, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=0.03, lambd=0.3, alpha=0.9, t0=3.0, weight_decay=0.0),
        ],
        schedule=cosine,
    ),
}
