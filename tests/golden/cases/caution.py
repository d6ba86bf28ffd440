"""Cautious AdamW and Lion."""

from timm.optim import AdamWLegacy, Lion

from .common import EXACT, FULL, cosine, late

CASES = {
    "adamw_caution": dict(
        kind=AdamWLegacy,
        options=EXACT | dict(caution=True),
        steps=40,
        shapes=FULL,
    ),
    "adamw_caution_groups": dict(
        kind=AdamWLegacy,
        options=dict(lr=1e-2, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True,
                     caution=True, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "conv"]),
            dict(params=["bias", "scale"], lr=3e-2, betas=(0.5, 0.99), eps=1e-5,
                 weight_decay=0.0, amsgrad=False),
            dict(params=["embed"], lr=3e-3, caution=False),
        ],
        schedule=cosine,
    ),
    "lion_caution": dict(
        kind=Lion,
        options=EXACT | dict(caution=True),
        steps=40,
        shapes=FULL,
    ),
    "lion_caution_groups": dict(
        kind=Lion,
        options=dict(lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, caution=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "bias"]),
            dict(params=["conv", "scale"], lr=3e-2, betas=(0.5, 0.99), weight_decay=0.0),
            dict(params=["embed"], lr=3e-3, caution=False),
        ],
        schedule=cosine,
    ),
}
