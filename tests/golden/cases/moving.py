"""Schedules that move the momentum besides: the replay has both from the config."""

from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from .common import SMALL, late

ONE_CYCLE = dict(max_lr=[0.02, 0.05], total_steps=40, pct_start=0.25, div_factor=10.0,
                 final_div_factor=100.0, base_momentum=0.75, max_momentum=0.9)
CYCLIC = dict(base_lr=1e-3, max_lr=0.02, step_size_up=8, step_size_down=4, mode="exp_range",
              gamma=0.98, base_momentum=0.5, max_momentum=0.875)

CASES = {
    "one_cycle": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=40,
        shapes=SMALL,
        groups=[
            dict(params=["weight"]),
            dict(params=["bias", "scale"], weight_decay=0.0, betas=(0.8, 0.99)),
        ],
        missing=late,
        schedule=lambda optimizer: OneCycleLR(optimizer, **ONE_CYCLE),
        moves=dict(kind="one_cycle") | ONE_CYCLE,
    ),
    "cyclic": dict(
        kind=SGD,
        options=dict(lr=1e-2, weight_decay=0.01, nesterov=True, momentum=0.9),
        steps=40,
        shapes=SMALL,
        schedule=lambda optimizer: CyclicLR(optimizer, **CYCLIC),
        moves=dict(kind="cyclic") | CYCLIC,
    ),
}
