"""StableAdamW."""

from optimi import StableAdamW

from .adapters import per_tensor
from .common import EXACT, FULL, cosine, late, waves

CASES = {
    # Its defaults, but for the decay.
    "stable_adamw": dict(
        kind=StableAdamW,
        options=EXACT | dict(triton=False),
        seed="stable_adamw 4",
        steps=40,
        shapes=FULL,
        size=waves(0.1),
    ),
    "stable_adamw_options": dict(
        kind=per_tensor(StableAdamW),
        options=dict(lr=1e-2, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, triton=False),
        steps=40,
        shapes=FULL | {"faint": [5]},
        size=waves(0.1),
        sizes=dict(faint=0.01),  # about eps
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale", "faint"]),
            dict(params=["bias", "conv"], lr=3e-2, beta1=0.9, beta2=0.999, eps=1e-6,
                 weight_decay=0.0),
        ],
        schedule=cosine,
    ),
}
