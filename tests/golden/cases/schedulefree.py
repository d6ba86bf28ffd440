"""Schedule-free AdamW and SGD."""

from schedulefree import AdamWScheduleFree, SGDScheduleFree

from .common import FULL, SHAPES, cosine, late

CASES = {
    # Its defaults, but for the decay.
    "schedulefree_adamw": dict(
        kind=AdamWScheduleFree,
        options=dict(weight_decay=0.1),
        steps=40,
        shapes=SHAPES,
    ),
    "schedulefree_adamw_options": dict(
        kind=AdamWScheduleFree,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1, warmup_steps=8, r=0.5,
                     weight_lr_power=1.5),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, betas=(0.95, 0.9), eps=1e-5, weight_decay=0.0,
                 warmup_steps=0, r=0.0, weight_lr_power=2.0),
        ],
        schedule=cosine,
    ),
    # Its defaults, but for lr and decay.
    "schedulefree_sgd": dict(
        kind=SGDScheduleFree,
        options=dict(lr=0.1, weight_decay=0.1),
        steps=40,
        shapes=SHAPES,
    ),
    "schedulefree_sgd_options": dict(
        kind=SGDScheduleFree,
        options=dict(lr=0.3, momentum=0.8, weight_decay=0.1, warmup_steps=8, r=0.5,
                     weight_lr_power=1.5),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=1.0, momentum=0.95, weight_decay=0.0, warmup_steps=20,
                 r=0.0, weight_lr_power=0.0),
        ],
        schedule=cosine,
    ),
}
