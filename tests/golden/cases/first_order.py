"""PyTorch's element-wise rules and Adafactor, lion-pytorch's Lion, optax's LAMB."""

import optax
from lion_pytorch import Lion
from recording.optax_torch import optax_optimizer
from torch.optim import SGD, Adafactor, Adam, AdamW, NAdam, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR

from .common import SHAPES, SMALL, waves

CASES = {
    "adamw": dict(kind=AdamW, options={}, steps=40),  # PyTorch's defaults
    "adamw_amsgrad": dict(
        kind=AdamW,
        options=dict(lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True),
    ),
    "adamw_maximize": dict(kind=AdamW, options=dict(lr=1e-2, weight_decay=0.1, maximize=True)),
    "adamw_long": dict(
        kind=AdamW,
        options=dict(lr=1e-2),
        steps=300,
        shapes={"bias": [11], "weight": [4, 3]},
        size=3.0,
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=300, eta_min=1e-4),
    ),
    "adam": dict(kind=Adam, options=dict(lr=1e-2, weight_decay=0.1)),
    "adam_amsgrad": dict(
        kind=Adam,
        options=dict(lr=1e-2, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True),
    ),
    "sgd_plain": dict(kind=SGD, options=dict(lr=0.1, weight_decay=0.1)),
    "sgd_momentum": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    ),
    "sgd_nesterov": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True),
    ),
    "sgd_missing_first": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.5),
        shapes=SMALL,
        missing=lambda step, name: step == 1 and name == "weight",
    ),
    "lion": dict(kind=Lion, options=dict(lr=1e-2, weight_decay=0.1)),
    "rmsprop": dict(kind=RMSprop, options=dict(lr=1e-2, weight_decay=0.1)),
    "rmsprop_centered": dict(
        kind=RMSprop,
        options=dict(lr=1e-3, alpha=0.9, eps=1e-4, momentum=0.9, centered=True, maximize=True),
        steps=40,
    ),
    "nadam": dict(kind=NAdam, options=dict(weight_decay=0.1), steps=40),
    "nadam_decoupled": dict(
        kind=NAdam,
        options=dict(lr=1e-2, betas=(0.8, 0.99), weight_decay=0.1, momentum_decay=0.1,
                     decoupled_weight_decay=True),
        shapes=SMALL,
        missing=lambda step, name: name == "weight" and step in (1, 5, 6),
    ),
    "lamb": dict(kind=optax_optimizer(optax.lamb), options=dict(lr=1e-2), steps=40),
    "lamb_decay": dict(
        kind=optax_optimizer(optax.lamb),
        options=dict(lr=1e-2, b1=0.8, b2=0.99, eps=1e-3, weight_decay=0.1),
        shapes=SHAPES | {"zero": [6]},
        missing=lambda step, name: name == "weight" and step in (1, 5, 6),
    ),
    "adafactor": dict(  # PyTorch's defaults
        kind=Adafactor,
        options={},
        steps=40,
        shapes=SMALL | {"embed": [257], "conv": [3, 2, 5, 7], "large": [70, 300], "line": [1, 9],
                        "column": [6, 1], "zero": [6], "tiny": [4, 6], "faint": [5]},
        sizes=dict(tiny=1e-3, faint=1e-7),
        missing=lambda step, name: name == "large" and step not in (1, 2, 30),
    ),
    "adafactor_options": dict(
        kind=Adafactor,
        options=dict(lr=0.9, beta2_decay=-0.5, eps=(1e-7, 1e-3), d=1.5, weight_decay=0.1,
                     maximize=True),
        shapes=SMALL | {"conv": [3, 2, 5, 7], "tiny": [4, 6], "faint": [5]},
        sizes=dict(tiny=1e-3, faint=1e-7),
        size=waves(0.1),
        missing=lambda step, name: step in dict(weight=[1, 5, 6], bias=[2, 9]).get(name, [7]),
        groups=[
            dict(params=["weight", "conv", "tiny"]),
            # With large steps a single number nearly cancels again and again.
            dict(params=["bias", "faint", "scale"], lr=0.05, beta2_decay=-0.8, eps=(1e-3, 0.3),
                 d=1.0, weight_decay=0.0),
        ],
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=20, eta_min=2e-3),
    ),
}
