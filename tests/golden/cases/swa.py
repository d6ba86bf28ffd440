"""The mean of the parameters: stochastic weight averaging."""

from torch.optim import SGD, AdamW

from .common import FULL, SHAPES, cosine

CASES = {
    "swa": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9),
        steps=40,
        shapes=SHAPES,
        average=dict(swa_start=11, swa_every=4),
    ),
    "swa_every_step": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=40,
        shapes=FULL,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias", "conv"], lr=3e-2, weight_decay=0.0),
        ],
        schedule=cosine,
        average=dict(swa_start=20),
    ),
}
