"""One rule, in every way that is asked for."""

import torch

from . import codes
from .binary import DriftError
from .run import Run

TORCHAO = {"int8": "AdamW8bit", "int4": "AdamW4bit", "fp8": "AdamWFp8"}


def measure(binary, rule, listed, arguments, seed):
    """The result of a rule with a seed, as the JSON holds it. `listed` is what the binary tells of
    the rule."""
    options = arguments.options or listed["train"]
    run = Run(rule, options, arguments, seed, binary.folder)
    path = run.difference(run.final, run.initial)["mean_abs"]
    rows, found = [], {}

    def add(state, who, parameters, baseline):
        far = run.difference(parameters, baseline)
        rows.append({"format": state, "implementation": who, **far, "drift": far["mean_abs"] / path,
                     **run.test(parameters)})
        found[state, who] = parameters

    add("f32", "reference", run.final, run.final)
    add("f32", "fallline", binary.replay(run, "f32"), run.final)
    for state in arguments.formats:
        add(state, "fallline", binary.replay(run, state), found["f32", "fallline"])
    moments = [slot for slot in listed["slots"]
               if slot["kind"] == "moment" and slot["shape"] == "param"]
    if arguments.slots and moments:
        add("int8", "exact", run.repeat(codes.fallline, moments), run.final)
        for slot in moments if len(moments) > 1 else ():
            alone = run.repeat(codes.fallline, [slot])
            add("int8", f"exact, {slot['name']} alone", alone, run.final)
    if arguments.torchao and rule == "adamw":
        for state, kind in TORCHAO.items():
            add(state, "torchao", run.repeat(kind=_torchao(kind)), run.final)
        add("int8", "exact, as torchao", run.repeat(codes.torchao, moments), run.final)
        positive = run.repeat(codes.torchao_above_zero, moments)
        add("int8", "exact, as torchao but v > 0", positive, run.final)
    pairs = [("fallline", "exact"), ("torchao", "exact, as torchao")]
    return {
        "rule": rule, "seed": seed, "torch": torch.__version__, "options": options,
        "steps": run.steps, "batch": run.batch_len, "parameters": len(run.flat(run.final)),
        "small": run.is_small.double().mean().item(), "mean_path": path, "rows": rows,
        "pairs": [{"format": "int8", "found": a, "against": b,
                   **run.difference(found["int8", a], found["int8", b])}
                  for a, b in pairs if ("int8", a) in found and ("int8", b) in found],
    }


def _torchao(kind):
    try:
        import torchao.optim
    except ImportError as error:
        raise DriftError(f"torchao cannot be imported ({error}): pip install torchao, or leave "
                         "--torchao out") from error
    return getattr(torchao.optim, kind)
