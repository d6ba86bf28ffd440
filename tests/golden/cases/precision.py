"""Mixed precision: loss scales, limits to gradients, parameters of 16 bits."""

from math import inf, nan

from lion_pytorch import Lion
from torch import bfloat16, float16
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from .common import SHAPES, SHORT, waves


def some_missing_amp(step, name):
    if step == 15:
        return name != "a"
    absent = {"a": (1, 5), "b": (1, 2, 3, 5), "c": (4, 9, 10), "empty": (2, 3)}
    return step != 7 if name == "late" else step in absent[name]


F16 = dict.fromkeys(SHAPES, float16)
BF16 = dict.fromkeys(SHAPES, bfloat16)
BF16_MASTER = dict(
    kind=AdamW,
    options=dict(lr=2e-4, weight_decay=0.1),
    seed="bf16_master 22",
    steps=40,
    dtypes=BF16,
    grad_dtypes=BF16,
)

CASES = {
    "amp_fp16": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        loss_scale=dict(init_scale=2.0**15, growth_interval=4),
        planted={
            1: {"weight": inf},
            10: {"scale": nan},
            11: {"embed": -inf},
            19: {"bias": nan},
            30: {"embed": inf},
        },
        grad_dtypes=F16,
    ),
    "amp_clip": dict(
        kind=AdamW,
        options=dict(lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True),
        steps=30,
        shapes=SHORT,
        size=waves(0.2),
        schedule=lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
        loss_scale=dict(init_scale=3e4, growth_factor=1.7, backoff_factor=0.3, growth_interval=3),
        planted={
            5: {"weight": nan, "bias": inf},
            6: {"scale": -inf},
            15: {"weight": inf},
            16: {"bias": -inf},
        },
        clip_norm=1.0,
        grad_dtypes=F16,
    ),
    "amp_sgd_first": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1),
        shapes=SHORT,
        loss_scale=dict(init_scale=2.0**16, growth_interval=5),
        planted={1: {"bias": inf}},
        grad_dtypes=F16,
    ),
    "amp_lion": dict(
        kind=Lion,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=30,
        size=waves(0.1),
        loss_scale=dict(init_scale=2.0**20, growth_interval=3),
        clip_norm=1.0,
        grad_dtypes=F16,
    ),
    "amp_missing": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        steps=24,
        shapes={"a": [3, 5], "b": [7], "c": [], "late": [6], "empty": [0]},
        size=waves(0.2),
        missing=some_missing_amp,
        loss_scale=dict(init_scale=2.0**14, growth_interval=3),
        planted={
            4: {"b": nan},
            7: {"late": inf},
            12: {"c": -inf},
            15: {"a": inf},
        },
        clip_norm=0.8,
        grad_dtypes=dict.fromkeys(("a", "b", "c", "late", "empty"), float16),
    ),
    "amp_fixed": dict(
        kind=Adam,
        options=dict(lr=1e-2, weight_decay=0.1),
        shapes=SHORT,
        loss_scale=100.0,
        planted={3: {"scale": inf}, 12: {"weight": nan}, 13: {"weight": nan}},
    ),
    "clip_norm": dict(
        kind=Adam,
        options=dict(lr=1e-2, weight_decay=0.1),
        size=lambda step: 0.0 if step == 5 else waves(0.1)(step),
        clip_norm=1.0,
    ),
    "clip_value": dict(kind=AdamW, options=dict(lr=1e-2, weight_decay=0.1), clip_value=0.15),
    "clip_both": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9),
        shapes=SHORT,
        size=waves(0.5),
        clip_norm=1.0,
        clip_value=0.25,
    ),
    "clip_groups": dict(
        kind=SGD,
        options=dict(lr=0.1, momentum=0.9, weight_decay=0.1),
        groups=[
            dict(params=["weight", "empty"]),
            dict(params=["embed", "scale"], clip_norm=0.8),
            dict(params=["bias"], lr=0.03),
        ],
        globs=True,
        size=waves(0.1),
        clip_norm=1.0,
    ),
    "clip_inf": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        shapes=SHORT,
        clip_norm=inf,
    ),
    "bf16_master": BF16_MASTER | dict(master="f32"),
    "bf16_remainder": BF16_MASTER | dict(master="remainder"),
    "bf16_plain": dict(
        kind=AdamW,
        options=dict(lr=1e-2, weight_decay=0.1),
        seed="bf16_plain 7",
        shapes=SHORT,
        dtypes=BF16,
        grad_dtypes=BF16,
    ),
    "bf16_sgd": dict(
        kind=SGD,
        options=dict(lr=0.125),  # PyTorch rounds the product, too, which this keeps exact
        dtypes=BF16,
        native=True,
    ),
    "fp16_master": dict(
        kind=AdamW,
        options=dict(lr=1e-4, weight_decay=0.1),
        seed="fp16_master 8",
        steps=30,
        loss_scale=dict(init_scale=2.0**16, growth_interval=4),
        planted={6: {"embed": inf}, 18: {"scale": nan}},
        master="f32",
        dtypes=F16,
        grad_dtypes=F16,
    ),
    "fp16_tiny": dict(  # most of the parameters and gradients are subnormal
        kind=AdamW,
        options=dict(lr=1e-5, eps=1e-12, weight_decay=0.1),
        seed="fp16_tiny 24",
        shapes=SHORT,
        size=1e-6,
        start=3e-5,
        loss_scale=32.0,
        master="f32",
        dtypes=F16,
        grad_dtypes=F16,
    ),
    "mixed": dict(
        kind=AdamW,
        options=dict(lr=1e-3, weight_decay=0.1),
        seed="mixed 9",
        steps=30,
        shapes=SHAPES | {"head": [2, 9]},
        size=waves(0.1),
        loss_scale=dict(init_scale=2.0**14, growth_interval=4),
        planted={7: {"scale": inf}, 12: {"weight": -inf}, 21: {"bias": nan}},
        clip_norm=1.0,
        master="f32",
        dtypes=dict(weight=float16, bias=bfloat16, embed=float16, empty=bfloat16),
        grad_dtypes=dict(scale=bfloat16, bias=float16, embed=bfloat16, empty=bfloat16,
                         head=float16),
    ),
}
