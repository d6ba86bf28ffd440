"""Groups, schedules, missing gradients."""

import torch
from timm.optim import param_groups_layer_decay
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from .common import SMALL


def some_missing(step, name):
    return step == 7 or name == "b" or (name == "a" and step in (1, 4, 5))


VISION = {  # tensors of a small vision transformer
    "cls_token": [1, 1, 6], "patch_embed.weight": [6, 5], "patch_embed.bias": [6],
    "blocks.0.weight": [6, 6], "blocks.0.bias": [6], "blocks.1.weight": [6, 6],
    "blocks.1.bias": [6], "norm.weight": [6], "head.weight": [11, 6], "head.bias": [11],
}


class Network:
    """What timm asks of a model."""

    def __init__(self, shapes):
        self.parameters = {name: torch.nn.Parameter(torch.empty(shape))
                           for name, shape in shapes.items()}

    def named_parameters(self):
        return self.parameters.items()

    def group_matcher(self, coarse):
        return dict(stem="cls_token|patch_embed", blocks=r"^blocks\.(\d+)")


def layer_groups(shapes, lr, **options):
    """timm's groups by layers and decay. The last layer comes first, with the rate of all."""
    network = Network(shapes)
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = param_groups_layer_decay(network, **options)
    groups.sort(key=lambda group: -group["lr_scale"])
    return [dict(params=[names[parameter] for parameter in group["params"]],
                 lr=lr * group["lr_scale"], weight_decay=group["weight_decay"])
            for group in groups]


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
    "groups_layers": dict(
        kind=AdamW,
        options=dict(lr=1e-2),
        steps=36,
        shapes=VISION,
        groups=layer_groups(VISION, 1e-2, weight_decay=0.1, no_weight_decay_list=["cls_token"],
                            layer_decay=0.65),
        frozen=lambda step, name: name.startswith("patch_embed") and 5 <= step <= 12,
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
        config="""\
[optimizer]
rule = "adamw"
lr = 0.01
weight_decay = 0.1
no_decay = ["cls_token"]
layer_decay = 0.65
layers = ["cls_token|patch_embed.*", "blocks.#.*"]

[[group]]
tensors = ["patch_embed.*"]
frozen = { from_step = 5, to_step = 12 }
""",
    ),
}
