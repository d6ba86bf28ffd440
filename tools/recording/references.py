"""Which optimizer is which rule, and what the config calls its options and its state.

Optimizers of torch.optim need no word here: the rule is the name of the class in lower case, and
the options are the class's own. One of another package takes an entry in PACKAGES. An option of the
class that its entry does not list must have the value that the class gives it by itself, or else
the run cannot be told.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .optax_torch import Optax, optax_optimizer
from .tensors import TraceError

# How torch and others compute, and what they compute it of, but not what.
COMPUTATION = {"params", "lr", "foreach", "fused", "capturable", "differentiable", "triton",
               "print_change_log", "verbose"}


@dataclass(frozen=True)
class Reference:
    """What an optimizer class does, in the config's words."""

    rule: str
    # The config's options, in its order, besides lr.
    options: tuple = ()
    # What the class calls an option; a tuple holds the parts of a list.
    sources: dict = field(default_factory=dict)
    # Options that the config has only where they have another value.
    implied: dict = field(default_factory=dict)
    # Whole numbers, besides the options that the class declares as int.
    counts: tuple = ()
    # Options that do not matter, or `further` looks at, and state that the class keeps among them.
    ignored: tuple = ()
    # What the config calls the class's state, None where it is no state of ours.
    slots: dict = field(default_factory=dict)
    # State that the class keeps in another shape than the parameter's, or as one number for all.
    flat: tuple = ()
    # A function (optimizer, group, options) that completes the options.
    further: Callable | None = None
    # Does it count the steps of a group, where a replay counts those of a tensor?
    counts_of_group: bool = False
    # Has it `eval()`, which yields parameters to evaluate with, and `train()`?
    evaluates: bool = False
    # The name of its method that takes an estimate of the Hessian from the gradients.
    estimates: str | None = None


def reference_of(optimizer):
    """What the config calls that which the optimizer does, or None. Subclasses may do anything, but
    one that does what its base does tells so in `recorded_as`."""
    kind = recorded_as(optimizer)
    if getattr(torch.optim, kind.__name__, None) is kind:
        return _of_torch(optimizer, kind)
    if issubclass(kind, Optax):
        return PACKAGES.get(("optax", kind.transformation.__name__))
    return PACKAGES.get((kind.__module__.partition(".")[0], kind.__name__))


def optimizer_class(package, name):
    """The class, or that of a function of optax."""
    kind = getattr(importlib.import_module(package), name)
    return optax_optimizer(kind) if package == "optax" else kind


def class_of(rule):
    """A class that is recorded as this rule: torch's, else the first of PACKAGES, else None."""
    for name, kind in vars(torch.optim).items():
        if isinstance(kind, type) and name.lower() == rule:
            return kind
    for name, reference in PACKAGES.items():
        if reference.rule == rule:
            return optimizer_class(*name)
    return None


def recorded_as(optimizer):
    kind = type(optimizer)
    return getattr(kind, "recorded_as", kind)


def signature(kind):
    """The options that the class takes, by name, in its order."""
    function = kind.transformation if issubclass(kind, Optax) else kind
    return dict(list(inspect.signature(function).parameters.items())[1:])


def _of_torch(optimizer, kind):
    """Of an optimizer of torch.optim."""
    known = optimizer.defaults.keys() - COMPUTATION
    rule = kind.__name__.lower()
    if rule in ("adam", "adamw"):  # one is the other but for an option
        known.discard("decoupled_weight_decay")
        decoupled = {group["decoupled_weight_decay"] for group in optimizer.param_groups}
        if len(decoupled) > 1:
            raise TraceError("decoupled_weight_decay differs between groups, and with it the rule")
        rule = "adamw" if True in decoupled else "adam"
    order = [*signature(kind), *optimizer.defaults]
    return Reference(rule, tuple(sorted(known, key=order.index)),
                     ignored=("decoupled_weight_decay",))


def _lion(optimizer, group, options):
    if optimizer.decoupled_wd:  # lion-pytorch then divides in every step
        options["weight_decay"] /= optimizer._init_lr


def _ademamix(optimizer, group, options):
    if group["weight_decay"] and not group["weight_decouple"]:
        raise TraceError("weight_decouple is False: the config has decoupled weight decay only")


def _adam_mini(optimizer, group, options):
    """What shares a second moment. Adam-mini goes by parts of the parameter's name."""
    rows = ("embd_names", "output_names", "wv_names", "mlp_names", "attn_proj_names")
    for names, blocks in (("adam_block_names", "elements"), ("wqk_names", "heads"),
                          *((names, "rows") for names in rows)):
        if any(part in group["name"] for part in getattr(optimizer, names)):
            break
    else:
        blocks = "tensor"
    options["blocks"] = blocks
    if blocks == "heads":
        (parameter,) = group["params"]
        options["heads"] = parameter.numel() // optimizer.head_numel


PRODIGY = Reference(
    "prodigy",
    ("betas", "beta3", "eps", "weight_decay", "decouple", "use_bias_correction",
     "safeguard_warmup", "d0", "d_coef", "growth_rate"),
    ignored=("d", "d_max", "d_numerator", "k"),
    flat=("s", "p0"),
)
SCHEDULE_FREE = dict(
    ignored=("k", "train_mode", "weight_sum", "lr_max", "scheduled_lr"),
    evaluates=True,
)
SCHEDULE = ("weight_decay", "warmup_steps", "r", "weight_lr_power")

PACKAGES = {  # by package and class; of optax by the function
    ("lion_pytorch", "Lion"): Reference(
        "lion", ("betas", "weight_decay"), further=_lion),
    ("timm", "Lion"): Reference(
        "lion", ("betas", "weight_decay", "caution"), implied=dict(caution=False),
        ignored=("max_lr_snapshot",)),
    ("timm", "AdamWLegacy"): Reference(
        "adamw", ("betas", "eps", "weight_decay", "amsgrad", "caution", "maximize"),
        implied=dict(caution=False), ignored=("max_lr_snapshot",)),
    ("optax", "lamb"): Reference(
        "lamb", ("betas", "eps", "weight_decay"), sources=dict(betas=("b1", "b2")),
        slots=dict(mu="exp_avg", nu="exp_avg_sq")),
    ("optax", "lars"): Reference(
        "lars", ("momentum", "weight_decay", "trust_coefficient", "eps", "nesterov"),
        slots=dict(trace="momentum_buffer")),
    ("prodigyopt", "Prodigy"): PRODIGY,
    ("adabelief_pytorch", "AdaBelief"): Reference(
        "adabelief",
        ("betas", "eps", "weight_decay", "weight_decouple", "rectify", "amsgrad"),
        implied=dict(weight_decouple=True, amsgrad=False), ignored=("buffer",)),
    ("pytorch_optimizer", "Adan"): Reference(
        "adan", ("betas", "eps", "weight_decay", "no_prox"),
        sources=dict(no_prox="weight_decouple"),
        slots=dict(previous_grad="neg_pre_grad"), counts_of_group=True),
    ("pytorch_optimizer", "AdEMAMix"): Reference(
        "ademamix",
        ("betas", "alpha", "eps", "weight_decay", "alpha_warmup", "beta3_warmup"),
        sources=dict(alpha_warmup="t_alpha_beta3", beta3_warmup="t_alpha_beta3"),
        counts=("alpha_warmup", "beta3_warmup"), ignored=("weight_decouple",),
        further=_ademamix, counts_of_group=True),
    ("optimi", "StableAdamW"): Reference(
        "stable_adamw", ("betas", "eps", "weight_decay"),
        sources=dict(betas=("beta1", "beta2")), ignored=("setup",),
        slots=dict(eps_sq=None, kahan_comp=None, mean_square=None), counts_of_group=True),
    ("schedulefree", "AdamWScheduleFree"): Reference(
        "schedulefree_adamw", ("betas", "eps", *SCHEDULE), **SCHEDULE_FREE),
    ("schedulefree", "SGDScheduleFree"): Reference(
        "schedulefree_sgd", ("momentum", *SCHEDULE), **SCHEDULE_FREE),
    ("sophia_opt", "SophiaG"): Reference(
        "sophia", ("betas", "rho", "weight_decay", "maximize"), implied=dict(maximize=False),
        estimates="update_hessian"),
    ("adam_mini", "Adam_mini"): Reference(
        "adam_mini", ("betas", "eps", "weight_decay"), sources=dict(betas=("beta1", "beta2")),
        ignored=("dim", "n_heads", "n_kv_heads"), flat=("m",), further=_adam_mini),
    ("transformers", "Adafactor"): Reference(  # RMS is the parameter's, taken anew in every step
        "adafactor_hf",
        ("eps", "clip_threshold", "decay_rate", "beta1", "weight_decay", "scale_parameter",
         "relative_step", "warmup_init"),
        slots=dict(RMS=None)),
}
