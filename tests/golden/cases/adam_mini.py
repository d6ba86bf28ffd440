"""Adam-mini, which finds by their names what parts of the tensors share a second moment."""

from .adapters import adam_mini
from .common import EXACT, cosine

# By rows, by heads of 12 elements (3 and 2 of them), by elements, and as a whole. Norm and bias do
# not decay.
SHAPES = {"wte": [7, 5], "q_proj": [6, 6], "k_proj": [4, 6], "mlp.weight": [5, 3],
          "mlp.bias": [257], "norm": [7], "scale": [], "conv": [3, 2, 3, 5]}
HEADS = dict(dim=6, n_heads=3)


def late(step, name):
    return step in {"q_proj": (1, 2, 3), "mlp.bias": (1, 2), "wte": (5, 6, 20),
                    "conv": (4, 30)}.get(name, ())


CASES = {
    # Its defaults, but for lr and decay.
    "adam_mini": dict(
        kind=adam_mini,
        options=EXACT | HEADS,
        steps=40,
        shapes=SHAPES,
    ),
    "adam_mini_options": dict(
        kind=adam_mini,
        options=dict(lr=1e-2, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1) | HEADS,
        steps=40,
        shapes=SHAPES,
        missing=late,
        groups=[
            dict(params=["wte", "q_proj", "mlp.bias", "norm"]),
            dict(params=["k_proj", "mlp.weight"], lr=3e-2, beta1=0.9, eps=1e-5),
            dict(params=["scale", "conv"], lr=3e-3, beta2=0.999, weight_decay=0.5),
        ],
        schedule=cosine,
    ),
}
