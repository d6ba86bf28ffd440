"""Prodigy."""

from prodigyopt import Prodigy
from torch.optim.lr_scheduler import LambdaLR

from .common import SHAPES, SMALL

CASES = {
    # What f32 loses of p0 - p stays in d: the parameters are small, so that it is little.
    "prodigy": dict(  # its defaults
        kind=Prodigy,
        options={},
        steps=40,
        shapes=SHAPES | {"zero": [6]},
        start=1e-4,
        drift=lambda step: 1e3 if step <= 10 else 0.0,
    ),
    "prodigy_options": dict(
        kind=Prodigy,
        options=dict(lr=0.5, betas=(0.8, 0.99), eps=1e-2, weight_decay=3.0,
                     use_bias_correction=True, safeguard_warmup=True, d0=1e-5, d_coef=30.0,
                     growth_rate=1.1875),  # f32 has it: a rounded one would be rounded in every step
        steps=40,
        shapes=SMALL | {"zero": [6]},
        start=1e-4,
        # No gradient at all in step 7; all of them 0 in the first, when there is no d to be had.
        size=lambda step: 0.0 if step == 1 else 0.1,
        drift=lambda step: 1e4 if 1 < step <= 30 else 0.0,
        missing=lambda step, name: step in dict(weight=[5, 6, 7], bias=[1, 2, 3, 7]).get(name, [7]),
    ),
    "prodigy_coupled": dict(
        kind=Prodigy,
        options=dict(lr=2.0, beta3=0.9, weight_decay=0.1, decouple=False, d0=1e-5),
        shapes=SMALL,
        start=1e-3,
        drift=lambda step: 1e2 if step <= 6 else 0.0,
        groups=[dict(params=["weight", "scale"]), dict(params=["bias"], weight_decay=0.0)],
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
    ),
}
