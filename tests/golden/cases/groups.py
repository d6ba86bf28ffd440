"""Groups, schedules, missing gradients."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from .common import SMALL


def some_missing(step, name):
    return step == 7 or name == "b" or (name == "a" and step in (1, 4, 5))


CASES = {
    "missing_grads": dict(
        kind=AdamW,
        options=dict(lr=1e-2),
        shapes={"a": [3, 5], "b": [7], "c": []},
        missing=some_missing,
    ),
    "groups": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        shapes=SMALL,
        groups=[
            dict(params=["weight"]),
            dict(params=["bias"], lr=1e-3, weight_decay=0.0, betas=(0.8, 0.99)),
            dict(params=["scale"], lr=3e-2, eps=1e-2),
        ],
        globs=True,
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
    ),
    "groups_cosine": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        shapes={"a*": [3, 5], "az": [7], "block[0].w": [4], "block0.w": [4], "{": []},
        groups=[
            dict(params=["az"]),
            dict(params=["a*", "{"], lr=3e-2, weight_decay=0.0),
            dict(params=[], lr=1e-1),
            dict(params=["block[0].w"], lr=1e-3),
            dict(params=["block0.w"], lr=2e-2),
        ],
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, T_max=30, eta_min=2e-3),
    ),
}
