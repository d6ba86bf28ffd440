"""What comes after a rule: Lookahead, averages."""

from torch.optim import SGD, AdamW

from .common import SHORT

CASES = {
    "lookahead": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=23,
        lookahead=dict(k=5, alpha=0.8),
        # Lookahead counts a group's steps, a replay a tensor's: they agree where k are left out.
        missing=lambda step, name: step in dict(weight=range(3, 8), bias=range(6)).get(name, []),
    ),
    "ema": dict(kind=SGD, options=dict(lr=0.1, momentum=0.9),
                average=dict(ema_decay=0.9)),
    "lookahead_ema": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        shapes=SHORT,
        lookahead=dict(k=3, alpha=0.5),
        average=dict(ema_decay=0.8),
    ),
}
