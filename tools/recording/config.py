"""The config beside a trace: options as the config states them, and its text."""

import inspect
import json
import math

import torch

from .references import COMPUTATION, recorded_as, reference_of, signature
from .tensors import TraceError

ABSENT = inspect.Parameter.empty


def options_of(optimizer, group):
    """The options of a group, but for lr, as the config states them."""
    options = {}
    reference = reference_of(optimizer)
    if reference is not None:
        known = signature(recorded_as(optimizer))
        told = {"lr", "learning_rate"}
        for name in reference.options:
            source = reference.sources.get(name, name)
            told.update(source if isinstance(source, tuple) else (source,))
            value = _given(optimizer, group, source)
            if name in reference.implied and all(
                _given(optimizer, any_group, source) == reference.implied[name]
                for any_group in optimizer.param_groups
            ):
                continue
            count = name in reference.counts or _is_count(known.get(name))
            value = _stated(name, value, known.get(name), count)
            if value is not None:
                options[name] = value
        _check_others(optimizer, group, known, told | COMPUTATION | {*reference.ignored})
        if reference.further:
            reference.further(optimizer, group, options)
    if "clip_norm" in group:
        options["clip_norm"] = float(group["clip_norm"])
    return options


def _given(optimizer, group, name):
    """An option, which most classes keep in the group and some in themselves."""
    if isinstance(name, tuple):
        return [_given(optimizer, group, part) for part in name]
    return group[name] if name in group else getattr(optimizer, name, ABSENT)


def _is_count(parameter):
    return parameter is not None and parameter.annotation in (int, "int")


def _stated(name, value, parameter, count):
    """A value as the config states it. It has no None, which stands for what is not told."""
    if isinstance(value, (list, tuple)):
        if any(part is None for part in value):
            default = None if parameter is None else parameter.default
            if tuple(value) != default:
                raise TraceError(f"{name} is {value}: the config has no None beside another than "
                                 f"{default}")
            return None
        return [_stated(name, part, None, count) for part in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if count:
        if value != int(value):
            raise TraceError(f"{name} is {value}: the config has whole numbers of steps")
        return int(value)
    return float(value)


def _check_others(optimizer, group, known, told):
    """Whether the options that the config does not have are as the class has them by itself."""
    for name in [*known, *optimizer.defaults]:
        parameter = known.get(name)
        variadic = parameter is not None and parameter.kind is inspect.Parameter.VAR_KEYWORD
        if name in told or variadic:
            continue
        value = _given(optimizer, group, name)
        default = False if parameter is None else parameter.default
        if value is ABSENT or value == default or (parameter is None and not value):
            continue
        hint = "" if parameter is None else f", only what {default} does"
        raise TraceError(f"{name} is {value}: the config of {reference_of(optimizer).rule} has no "
                         f"such option{hint}")


def slots_of(optimizer, parameter):
    """What the optimizer keeps for a parameter, but for the number of its steps."""
    state, reference = optimizer.state.get(parameter, {}), reference_of(optimizer)
    if state.get("step", 1) == 0:  # made before the first step
        return {}
    slots = {}
    for name, value in state.items():
        if reference is not None and name in reference.flat:
            value = value.flatten().broadcast_to(parameter.numel()).reshape(parameter.shape)
        slot = name if reference is None else reference.slots.get(name, name)
        if slot not in (None, "step") and isinstance(value, torch.Tensor):
            slots[slot] = value
    return slots


def config_text(tables, members, *, rule, kept, clip, loss_scale, schedule):
    """The config, in TOML.

    tables       of every group: lr, which may be None, and the other options
    members      of every group: the names of its parameters
    kept         what [optimizer] says besides
    clip         the table of that name, maybe empty
    loss_scale   the table of that name, or None
    schedule     the table of that name, or None
    """
    tables = [{name: value for name, value in table.items() if value is not None}
              for table in tables]
    lines = ["[optimizer]", *_toml({"rule": rule} | tables[0] | kept)]
    if clip:
        lines += ["", "[clip]", *_toml(clip)]
    if loss_scale is not None:
        lines += ["", "[loss_scale]", *_toml(loss_scale)]
    if schedule is not None:
        lines += ["", "[schedule]", *_toml(schedule)]
    for number, (names, table) in enumerate(zip(members[1:], tables[1:]), start=1):
        for key in tables[0].keys() - table.keys():
            raise TraceError(f"{key} of group {number} is None, and in the config it would "
                             f"inherit group 0's {tables[0][key]}")
        own = {key: value for key, value in table.items() if value != tables[0].get(key)}
        lines += ["", "[[group]]", *_toml({"names": names} | own)]
    return "\n".join(lines) + "\n"


def _toml(table):
    """The lines of a TOML table: JSON's strings, finite numbers, booleans and arrays are TOML, but
    for a character that TOML has escaped."""
    return [
        f"{key} = {'inf' if value == math.inf else json.dumps(value, ensure_ascii=False)}"
        .replace("\x7f", "\\u007f")
        for key, value in table.items()
    ]
