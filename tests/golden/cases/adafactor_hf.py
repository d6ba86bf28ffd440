"""Adafactor of transformers."""

from transformers.optimization import Adafactor

from .common import FULL, SMALL, cosine, late, waves

MATRICES = {"line": [1, 9], "column": [6, 1], "zero": [6], "tiny": [4, 6], "faint": [5]}

CASES = {
    # Its defaults: it sets the rate by itself.
    "adafactor_hf": dict(
        kind=Adafactor,
        options={},
        steps=40,
        shapes=FULL | MATRICES,
        sizes=dict(tiny=1e-3, faint=1e-15),
        missing=late,
    ),
    "adafactor_hf_warmup": dict(
        kind=Adafactor,
        options=dict(warmup_init=True, beta1=0.9, weight_decay=10.0),
        steps=80,
        shapes=SMALL | {"conv": [3, 2, 3, 5]} | MATRICES,
        sizes=dict(tiny=1e-3, faint=1e-15),
        size=waves(0.1),
        missing=late,
        groups=[
            dict(params=["weight", "scale", "line", "zero"]),
            dict(params=["bias", "conv", "column", "tiny", "faint"], eps=(1e-6, 0.5),
                 clip_threshold=0.5, decay_rate=-0.5, beta1=0.5, weight_decay=0.0,
                 scale_parameter=False),
        ],
    ),
    "adafactor_hf_lr": dict(
        kind=Adafactor,
        options=dict(lr=1e-2, relative_step=False, scale_parameter=False, weight_decay=0.1),
        steps=40,
        shapes=SMALL | {"conv": [3, 2, 3, 5], "tiny": [4, 6]},
        sizes=dict(tiny=1e-3),
        size=waves(0.1),
        missing=late,
        groups=[
            dict(params=["weight", "tiny", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, eps=(1e-6, 2.0), clip_threshold=0.7,
                 decay_rate=-0.6, beta1=0.8, weight_decay=0.0, scale_parameter=True),
        ],
        schedule=cosine,
    ),
}
