"""AdEMAMix."""

from pytorch_optimizer import AdEMAMix

from .adapters import per_tensor
from .common import EXACT, FULL, SHAPES, cosine, late

CASES = {
    # Its defaults, but for lr and decay.
    "ademamix": dict(
        kind=AdEMAMix,
        options=EXACT | dict(weight_decouple=True),
        steps=40,
        shapes=SHAPES,
    ),
    "ademamix_warmup": dict(
        kind=per_tensor(AdEMAMix),
        options=dict(lr=1e-2, betas=(0.9, 0.99, 0.999), alpha=8.0, eps=1e-3, weight_decay=0.1,
                     weight_decouple=True, t_alpha_beta3=25),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-3, betas=(0.8, 0.9, 0.99), alpha=2.0, eps=1e-5,
                 weight_decay=0.0, t_alpha_beta3=60),
        ],
        schedule=cosine,
    ),
}
