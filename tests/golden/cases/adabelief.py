"""AdaBelief."""

from adabelief_pytorch import AdaBelief

from .common import EXACT, FULL, SHAPES, cosine, late, waves

CASES = {
    # Its defaults, but for lr and decay.
    "adabelief": dict(
        kind=AdaBelief,
        options=EXACT | dict(print_change_log=False),
        steps=40,
        shapes=SHAPES,
    ),
    "adabelief_options": dict(
        kind=AdaBelief,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1,
                     print_change_log=False),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias"], lr=3e-2, betas=(0.9, 0.9), eps=1e-3, weight_decay=0.0),
            # Never rectified.
            dict(params=["conv"], lr=3e-3, betas=(0.9, 0.6)),
        ],
        schedule=cosine,
    ),
    "adabelief_plain": dict(
        kind=AdaBelief,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, rectify=False,
                     print_change_log=False),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, betas=(0.9, 0.9), eps=1e-3, weight_decay=0.0),
        ],
        schedule=cosine,
    ),
    "adabelief_coupled": dict(
        kind=AdaBelief,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, amsgrad=True,
                     weight_decouple=False, rectify=False, print_change_log=False),
        steps=40,
        shapes=FULL,
        missing=late,
        size=waves(0.1),
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias"], lr=3e-2, betas=(0.9, 0.9), eps=1e-3, weight_decay=0.0),
            dict(params=["conv"], betas=(0.9, 0.8), amsgrad=False),
        ],
        schedule=cosine,
    ),
}
