"""RAdam."""

from torch.optim import RAdam

from .common import FULL, SHAPES, cosine, late

CASES = {
    # PyTorch's defaults: rectified from step 6 on.
    "radam": dict(kind=RAdam, options=dict(weight_decay=0.1), steps=40, shapes=SHAPES),
    "radam_decoupled": dict(
        kind=RAdam,
        options=dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1,
                     decoupled_weight_decay=True, maximize=True),
        steps=40,
        shapes=FULL,
        missing=late,
        groups=[
            dict(params=["weight", "embed", "scale"]),
            dict(params=["bias"], lr=3e-2, betas=(0.9, 0.9), eps=1e-5, weight_decay=0.0),
            # Never rectified.
            dict(params=["conv"], lr=3e-3, betas=(0.9, 0.6), decoupled_weight_decay=False),
        ],
        schedule=cosine,
    ),
}
