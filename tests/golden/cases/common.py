"""What cases share."""

from torch.optim.lr_scheduler import CosineAnnealingLR

# A tensor without dimensions, one and two dimensions, one element more than a block of 256, and
# one without elements.
SHAPES = {"scale": [], "weight": [3, 5], "bias": [7], "embed": [257], "empty": [0]}
SMALL = {"scale": [], "weight": [3, 5], "bias": [7]}
SHORT = SMALL | {"empty": [0]}
# With four dimensions too.
FULL = SMALL | {"conv": [3, 2, 3, 5], "embed": [257]}

# Near to 1e-3 and 0.1. f32 holds 1 - lr·weight_decay: what it rounds off of other products is the
# same in every step, and adds up.
EXACT = dict(lr=2.0**-10, weight_decay=2.0**-3)


def waves(size):
    """Gradients of a size that goes up and down."""
    return lambda step: size * (0.25, 0.5, 1.0, 2.0, 1.0, 0.5)[step % 6]


def late(step, name):
    """One tensor begins in step 4, one pauses."""
    return step in dict(bias=(1, 2, 3), weight=(5, 6, 20)).get(name, ())


def cosine(optimizer):
    """A schedule that keeps no ratio between groups."""
    return CosineAnnealingLR(optimizer, T_max=40, eta_min=1e-4)
