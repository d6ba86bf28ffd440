"""A moving average of the parameters with a warm-up of its decay."""

from torch.optim import SGD

from .common import SHAPES

CASES = {
    "ema_warmup": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9),
        steps=40,
        shapes=SHAPES,
        average=dict(ema_decay=0.7, ema_warmup=True),
    ),
}
