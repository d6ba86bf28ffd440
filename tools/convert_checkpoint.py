"""Take over what a PyTorch optimizer has learnt, and give it back: a checkpoint of fallline from its state, and its
state from a checkpoint. Nothing is lost on either way.

In a program that has the optimizer:

    from convert_checkpoint import load_checkpoint, write_checkpoint

    write_checkpoint("adamw.safetensors", optimizer, model.named_parameters(), step=1000, scaler=scaler)
    load_checkpoint("adamw.safetensors", optimizer, model.named_parameters(), scaler=scaler)

(without `scaler` where there is none). Of a file that `torch.save({"model": model.state_dict(), "optimizer":
optimizer.state_dict(), "scaler": scaler.state_dict()}, ...)` wrote, and back into one that `load_state_dict` takes:

    pip install torch safetensors
    python tools/convert_checkpoint.py from-torch run.pt run.safetensors --optimizer AdamW --step 1000
    python tools/convert_checkpoint.py to-torch run.safetensors run.pt --optimizer AdamW

Optimizers are those of torch.optim that fallline has a rule for, lion_pytorch.Lion, adam_mini.Adam_mini, and Adam,
AdamW and Lion of bitsandbytes, also with state of 8 bits. What is worth knowing:

    dtypes          state is f32 in the checkpoint, whatever the parameter is: torch has state of 16 bits beside
                    parameters of 16 bits, which f32 holds. On the way back it is rounded to the parameter's dtype
    options         fallline's rules have those that change what is computed. The others (foreach, fused, ...) lie in the
                    caller's `extra`, under "torch", and come back from there
    steps           torch's SGD and lion_pytorch count none: with state, the parameter has taken `step` of them
    loss scale      that of torch.amp.GradScaler, with the steps since it changed; how it changes lies in `extra`, too, and
                    in fallline comes from the caller. A step that was skipped is one of the `step` that the caller counts
    Adam-mini       goes by parts of names, fallline by the group's `blocks`: the engine's groups must say the same
    8 bits          codes and scales stay as they are. The code books are bitsandbytes', but for the last bit of some
                    values, which bitsandbytes has from f32. A file of the 8-bit optimizers loads where the group's
                    state is int8; bitsandbytes keeps tensors of fewer than 4096 elements in f32, as fallline does
    averages        torch keeps none in its optimizers, and so neither do these checkpoints
"""

import argparse
import json
import zlib
from pathlib import Path

import torch

from read_checkpoint import VERSION, Checkpoint, code_book
from recording.config import options_of, slots_of
from recording.references import optimizer_class, reference_of

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint32: "U32", torch.uint8: "U8"}

# What a rule keeps for each element, by the name of an option that it may depend on.
SLOTS = {
    "adadelta": ["square_avg", "acc_delta"],
    "adagrad": ["sum"],
    "adam": ["exp_avg", "exp_avg_sq", ("amsgrad", "max_exp_avg_sq")],
    "adam_mini": ["m"],
    "adamax": ["exp_avg", "exp_inf"],
    "adamw": ["exp_avg", "exp_avg_sq", ("amsgrad", "max_exp_avg_sq")],
    "asgd": ["ax"],
    "lion": ["exp_avg"],
    "nadam": ["exp_avg", "exp_avg_sq"],
    "radam": ["exp_avg", "exp_avg_sq"],
    "rmsprop": ["square_avg", ("centered", "grad_avg"), ("momentum", "momentum_buffer")],
    "rprop": ["prev", "step_size"],
    "sgd": [("momentum", "momentum_buffer")],
}
# For the whole tensor.
SCALARS = {"asgd": ["eta", "mu"], "nadam": ["mu_product"]}
# Options by which kernels differ, in the engine's order.
SWITCHES = {"adam": ["amsgrad"], "adamw": ["amsgrad"], "sgd": ["momentum", "nesterov"],
            "rmsprop": ["centered", "momentum"]}
# Rules whose references count no steps.
UNCOUNTED = ("lion", "sgd")

# bitsandbytes decays weights apart from the gradient in Adam, too.
BITSANDBYTES = {"Adam": "adamw", "AdamW": "adamw", "Lion": "lion"}
BLOCK = 256


class ConversionError(Exception):
    """An optimizer, or a state of one, that no checkpoint holds."""


class Described:
    """An optimizer in fallline's words: rule, options, and state by slots."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        kind = type(optimizer)
        self.is_bitsandbytes = kind.__module__.startswith("bitsandbytes.")
        if self.is_bitsandbytes:
            self.rule = BITSANDBYTES.get(kind.__name__.removesuffix("8bit").removesuffix("32bit"))
        else:
            reference = reference_of(optimizer)
            self.rule = reference and reference.rule
        if self.rule not in SLOTS and self.rule != "adafactor":
            raise ConversionError(f"there is no conversion of {kind.__module__}.{kind.__name__}")

    def options(self, group):
        """Those of a group that the rule has, by its names."""
        if self.is_bitsandbytes:
            options = {"betas": list(group["betas"]), "weight_decay": float(group["weight_decay"])}
            if self.rule == "adamw":
                options["eps"] = float(group["eps"])
        else:
            options = options_of(self.optimizer, group)
        return {"lr": float(group["lr"])} | options

    def text(self, options, parameter):
        """The rule of a parameter with its switches, as the engine tells kernels apart."""
        switches = [name for name in SWITCHES.get(self.rule, []) if options.get(name)]
        if self.rule == "adafactor":
            switches += ["factored"] if parameter.dim() > 1 else []
            if options.get("eps") is None:
                switches.append(f"eps1_of_{DTYPES[parameter.dtype].lower()}")
        if self.rule == "adam_mini" and blocks(options, parameter.shape) is not None:
            switches.append("blocks")
        return " ".join([self.rule, *switches])

    def shapes(self, options, shape):
        """What the rule keeps for a parameter, and in which shape."""
        shape = list(shape)
        if self.rule == "adafactor":
            if len(shape) > 1:
                return {"row_var": [*shape[:-1], 1], "col_var": [*shape[:-2], 1, shape[-1]]}
            return {"variance": shape}
        given = (slot if isinstance(slot, tuple) else (None, slot) for slot in SLOTS[self.rule])
        kept = {slot: shape for option, slot in given if option is None or options.get(option)}
        if self.rule == "adam_mini":
            count = blocks(options, shape)
            kept |= {"v": shape} if count is None else {"vmean": [count]}
        return kept | {slot: [] for slot in SCALARS.get(self.rule, [])}

    def state(self, parameter):
        """Slots of a parameter: values, or (codes, absmax). None of one that has taken no step."""
        if not self.is_bitsandbytes:
            return slots_of(self.optimizer, parameter)
        state = self.optimizer.state.get(parameter, {})
        slots = {}
        for number, slot in enumerate(["exp_avg", "exp_avg_sq"], start=1):
            values = state.get(f"state{number}")
            if values is not None and values.dtype == torch.uint8:
                absmax = state[f"absmax{number}"]
                if absmax.numel() != -(-values.numel() // BLOCK):
                    raise ConversionError(f"blocks must have {BLOCK} elements, found {absmax.numel()} "
                                          f"for {values.numel()}")
                check_book(state[f"qmap{number}"], signed=number == 1)
                slots[slot] = (values.reshape(parameter.shape), absmax)
            elif values is not None:
                slots[slot] = values
        return slots

    def taken(self, parameter, has_begun, step):
        """How many steps a parameter has taken: its own count, where there is one."""
        own = self.optimizer.state.get(parameter, {}).get("step")
        if own is not None:
            return int(own)
        return max(step, 1) if has_begun else 0


def blocks(options, shape):
    """How many blocks of a parameter have a second moment each in Adam-mini; None: each element has its own."""
    if options["blocks"] == "rows":
        return shape[0] if len(shape) > 1 else None
    return {"elements": None, "heads": options.get("heads"), "tensor": 1}[options["blocks"]]


def check_book(book, signed):
    """Whether codes stand for what fallline's do, up to the last bit."""
    ours = torch.tensor(code_book(8, signed), dtype=torch.float64)
    if not torch.allclose(book.double().cpu(), ours, rtol=2.0**-22, atol=0.0):
        raise ConversionError("the code book is none that fallline has")


def write_checkpoint(path, optimizer, named_parameters, *, step=0, extra=None, scaler=None):
    """Write what an optimizer has learnt, and its parameters.

    named_parameters yields (name, parameter) as `Module.named_parameters()` does
    step             the caller's, which a run continues behind
    extra            a dict that is saved besides
    scaler           a torch.amp.GradScaler, whose scale is saved too
    """
    described, names = Described(optimizer), {parameter: name for name, parameter in named_parameters}
    tensors = {"seed": torch.zeros(1, dtype=torch.uint32), "mode": text("train")}
    encodings, groups = {"mode": "text"}, []
    for group in optimizer.param_groups:
        options = described.options(group)
        members = []
        for parameter in group["params"]:
            if parameter not in names:
                raise ConversionError(f"a parameter of shape {list(parameter.shape)} has no name")
            name, slots = names[parameter], described.state(parameter)
            members.append(name)
            number = sum(len(group["tensors"]) for group in groups) + len(members) - 1
            tensors[f"rule/{name}"] = text(described.text(options, parameter))
            encodings[f"rule/{name}"] = "text"
            tensors[f"number/{name}"] = torch.tensor(number, dtype=torch.uint32)
            shapes = described.shapes(options, parameter.shape)
            taken = described.taken(parameter, slots or not shapes, step)
            tensors[f"step/{name}"] = torch.tensor(taken, dtype=torch.uint32)
            tensors[f"param/{name}"] = parameter.detach()
            for slot, shape in shapes.items():
                value = slots.pop(slot, None)
                if isinstance(value, tuple):
                    value, tensors[f"scale/{slot}/{name}"] = value
                    blocks = dict(format="int8", signed=slot == "exp_avg", shape=shape)
                    encodings[f"state/{slot}/{name}"] = {"blocks": blocks}
                else:
                    value = torch.zeros(shape) if value is None else value.float().reshape(shape)
                tensors[f"state/{slot}/{name}"] = value
            if slots:
                raise ConversionError(f"{name}: {described.rule} has no {', '.join(slots)}")
        groups.append({"name": f"group {len(groups)}", "rule": described.rule, "options": options,
                       "tensors": members})
    kept = [{key: value for key, value in group.items() if key not in ("params", "param_names")}
            for group in optimizer.param_groups]
    extra = {"torch": {"optimizer": type(optimizer).__name__, "param_groups": [
        {key: float(value) if isinstance(value, torch.Tensor) else value for key, value in group.items()}
        for group in kept]}} | (extra or {})
    scale = scaler.state_dict() if scaler is not None else {}  # of one that is not enabled
    if scale:
        extra["torch"]["scaler"] = scale
        tensors["loss_scale"] = loss_scale(scale)
        most = max((int(value) for name, value in tensors.items() if name.startswith("step/")), default=0)
        counts = [max(step, most), max(step - most, 0)]
        tensors["reports"] = torch.tensor(counts, dtype=torch.uint32)
    Path(path).write_bytes(file(tensors, encodings, step, extra, groups))


def loss_scale(state):
    """A GradScaler's scale as a checkpoint has it: the bits of it and of its reciprocal, the steps since it changed, and
    no overflow that it has yet to be changed by."""
    scale = torch.tensor([state["scale"]], dtype=torch.float32)
    bits = torch.cat([scale, 1 / scale]).view(torch.int32)
    counts = torch.tensor([state["_growth_tracker"], 0], dtype=torch.int32)
    return torch.cat([bits, counts]).view(torch.uint32)


def text(words):
    """Words as a checkpoint has them."""
    return torch.tensor(list(words.encode()), dtype=torch.uint8)


def file(tensors, encodings, step, extra, groups):
    """The bytes of a checkpoint: docs/checkpoint.md describes them."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    data, infos = b"", {}
    metadata = {"fallline_checkpoint": str(VERSION), "crc32": "0" * 8, "step": str(step)}
    metadata |= {"extra": json.dumps(extra), "groups": json.dumps(groups)}
    for name in order:
        value = tensors[name]
        if value.dtype not in DTYPES:
            raise ConversionError(f"{name}: {value.dtype}, which no checkpoint has")
        own = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        infos[name] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape),
                       "data_offsets": [len(data), len(data) + len(own)]}
        metadata[f"crc32/{name}"] = f"{zlib.crc32(own):08x}"
        data += own
    metadata |= {f"encoding/{name}": json.dumps(encoding) for name, encoding in encodings.items()}
    header = {"__metadata__": metadata} | infos
    header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    before = len(header).to_bytes(8, "little") + header
    own = f'"crc32":"{zlib.crc32(before):08x}"'.encode()
    return before.replace(b'"crc32":"00000000"', own, 1) + data


def load_checkpoint(path, optimizer, named_parameters, *, scaler=None):
    """Make an optimizer with the same parameters, by name, continue where a checkpoint is; and the parameters, and the
    scale of a GradScaler if one is given."""
    checkpoint, described = Checkpoint(path), Described(optimizer)
    names = {parameter: name for name, parameter in named_parameters}
    known = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    saved, own = {*checkpoint.names()}, {names[parameter] for parameter in known}
    if saved != own:
        raise ConversionError(f"{path}: missing are {sorted(own - saved)}, and there is no "
                              f"{sorted(saved - own)}")
    of_torch = (checkpoint.extra or {}).get("torch", {}) if isinstance(checkpoint.extra, dict) else {}
    for number, group in enumerate(optimizer.param_groups):
        members = {names[parameter] for parameter in group["params"]}
        given = of_torch.get("param_groups", [])
        if number < len(given):
            options = given[number]
        else:
            same = (other["options"] for other in checkpoint.groups if {*other["tensors"]} == members)
            options = next(same, None) or {}
            if described.rule == "adam_mini" and "betas" in options:
                options = options | dict(zip(("beta1", "beta2"), options["betas"]))
            options = {key: value for key, value in options.items() if key in group}
        group |= {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    for parameter, group in known.items():
        name = names[parameter]
        options = described.options(group)
        found, expected = checkpoint.rule(name), described.text(options, parameter)
        if found != expected:
            raise ConversionError(f"{path}: the rule of {name} is {found}, and not {expected}")
        if "vmean" in described.shapes(options, parameter.shape):
            found, expected = len(checkpoint.slot(name, "vmean")), blocks(options, parameter.shape)
            if found != expected:
                raise ConversionError(f"{path}: {name} has {found} blocks, and not {expected}")
        with torch.no_grad():
            value = checkpoint.param(name)
            if value.shape != parameter.shape or value.dtype != parameter.dtype:
                raise ConversionError(f"{path}: {name} is {value.dtype} {list(value.shape)}, and not "
                                      f"{parameter.dtype} {list(parameter.shape)}")
            parameter.copy_(value)
        restore(described, checkpoint, parameter, name, options)
    if scaler is not None and scaler.is_enabled():
        scaler.load_state_dict(scale_of(checkpoint, of_torch.get("scaler") or scaler.state_dict()))
    return checkpoint


def scale_of(checkpoint, rest):
    """The state of a GradScaler: the scale of a checkpoint, and of `rest` how it changes."""
    saved = checkpoint.tensors.get("loss_scale")
    if saved is None:
        raise ConversionError(f"{checkpoint.path} has no loss scale")
    *_, tracker, pending = saved.view(torch.int32).tolist()
    if pending:
        raise ConversionError(f"{checkpoint.path}: the scale has yet to be changed by an overflow")
    return rest | {"scale": saved.view(torch.float32)[0].item(), "_growth_tracker": tracker}


def restore(described, checkpoint, parameter, name, options):
    """Set the optimizer's state of a parameter."""
    taken = checkpoint.taken(name)
    if taken == 0:
        return
    state, device = {}, parameter.device
    if described.rule not in UNCOUNTED:
        state["step"] = torch.tensor(float(taken))
    if described.is_bitsandbytes:
        state["step"] = taken
        for number, slot in enumerate(["exp_avg", "exp_avg_sq"], start=1):
            if f"state/{slot}/{name}" not in checkpoint.tensors:
                continue
            scales = checkpoint.tensors.get(f"scale/{slot}/{name}")
            if scales is not None:
                state[f"absmax{number}"] = scales.to(device)
                book = described.optimizer.name2qmap["dynamic" if number == 1 else "udynamic"]
                state[f"qmap{number}"] = book.to(device)
            state[f"state{number}"] = checkpoint.tensors[f"state/{slot}/{name}"].to(device)
    elif described.rule == "adam_mini":
        state["step"] = taken
        shapes = adam_mini_shapes(options, parameter)
        for slot, value in checkpoint.state(name).items():
            state[slot] = value.to(device, parameter.dtype).reshape(shapes.pop(slot))
        state |= shapes
    else:
        for slot, value in checkpoint.state(name).items():
            keeps_f32 = slot in SCALARS.get(described.rule, [])
            state[slot] = value.to(device, torch.float32 if keeps_f32 else parameter.dtype)
    if state:
        described.optimizer.state[parameter] = state


def adam_mini_shapes(options, parameter):
    """The shapes of what Adam_mini keeps for a parameter, and what it notes of them."""
    count, shape = blocks(options, parameter.shape), parameter.shape
    if count is None:
        return {"m": shape, "v": shape}
    if options["blocks"] == "heads":
        return {"m": (count, -1), "vmean": (count, 1), "head_per_gpu": count}
    if options["blocks"] == "rows":
        return {"m": shape, "vmean": (count, 1), "neuron_per_gpu": count}
    return {"m": shape, "vmean": (), "reduced": False, "block_numel": float(parameter.numel())}


def adam_mini(kind, named_parameters, head_numels):
    """Adam_mini over these parameters, whose heads have so many elements: a set of one, or of none."""
    if len(head_numels) > 1:
        raise ConversionError(f"heads must have one length, found {sorted(head_numels)}")
    optimizer = kind(named_parameters, verbose=False)
    optimizer.head_numel = next(iter(head_numels), optimizer.head_numel)
    return optimizer


def named(name):
    """An optimizer's class: of torch.optim, or with its package."""
    package, _, kind = name.rpartition(".")
    package = {"": "torch.optim", "bitsandbytes": "bitsandbytes.optim"}.get(package, package)
    return optimizer_class(package, kind)


def rebuilt(kind, model, saved):
    """An optimizer of this class over these parameters, with what `state_dict` gave; and their names."""
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    if kind.__name__ == "Adam_mini":  # which has a group for each parameter, and names in lower case
        by_name = {name.lower(): name for name in model}
        names = [by_name[group["name"]] for group in saved["param_groups"]]
        parameters = {name: torch.nn.Parameter(model[name]) for name in names}
        states = saved["state"].values()
        heads = {state["m"].shape[1] for state in states if "head_per_gpu" in state}
        optimizer = adam_mini(kind, parameters.items(), heads)
        optimizer.load_state_dict(saved)
        return optimizer, parameters
    names = [name for group in saved["param_groups"] for name in group.get("param_names", [])]
    if not names and len(saved["param_groups"]) == 1:
        names = [*model]  # in the order of the model, as `parameters()` gives them
    if len(names) != len(numbers):
        raise ConversionError(f"the optimizer has {len(numbers)} parameters without names, and the model {len(model)} "
                              "tensors: make it of `named_parameters()`, or call `write_checkpoint` in the program")
    parameters = {name: torch.nn.Parameter(model[name]) for name in names}
    by_number = dict(zip(numbers, parameters.values()))
    groups = [{"params": [by_number[number] for number in group["params"]]} for group in saved["param_groups"]]
    optimizer = kind(groups, lr=saved["param_groups"][0]["lr"])
    optimizer.load_state_dict({"state": saved["state"], "param_groups": [
        {key: value for key, value in group.items() if key != "param_names"}
        for group in saved["param_groups"]]})
    return optimizer, parameters


def main():
    parser = argparse.ArgumentParser(description="Convert between checkpoints of fallline and of PyTorch.")
    commands = parser.add_subparsers(required=True, dest="command")
    for command in ("from-torch", "to-torch"):
        known = commands.add_parser(command)
        known.add_argument("input", type=Path)
        known.add_argument("output", type=Path)
        known.add_argument("--optimizer", required=True, help="AdamW, lion_pytorch.Lion, bitsandbytes.AdamW8bit, ...")
    commands.choices["from-torch"].add_argument("--step", type=int, default=0)
    args = parser.parse_args()
    kind = named(args.optimizer)
    if args.command == "from-torch":
        saved = torch.load(args.input, map_location="cpu", weights_only=True)
        optimizer, parameters = rebuilt(kind, saved["model"], saved["optimizer"])
        scaler = torch.amp.GradScaler("cpu", enabled=bool(saved.get("scaler")))
        scaler.load_state_dict(saved.get("scaler") or {})
        write_checkpoint(args.output, optimizer, parameters.items(), step=args.step, scaler=scaler)
        return
    checkpoint = Checkpoint(args.input)
    parameters = {name: torch.nn.Parameter(checkpoint.param(name)) for name in checkpoint.names()}
    groups = [{"params": [(name, parameters[name]) for name in group["tensors"]]} for group in checkpoint.groups]
    if kind.__name__ == "Adam_mini":
        heads = {parameters[name].numel() // group["options"]["heads"] for group in checkpoint.groups
                 if group["options"]["blocks"] == "heads" for name in group["tensors"]}
        optimizer = adam_mini(kind, parameters.items(), heads)
    else:
        optimizer = kind(groups, lr=checkpoint.groups[0]["options"]["lr"])
    scaler = torch.amp.GradScaler("cpu", enabled="loss_scale" in checkpoint.tensors)
    load_checkpoint(args.input, optimizer, parameters.items(), scaler=scaler)
    model = {name: value.detach() for name, value in parameters.items()}
    scale = {"scaler": scaler.state_dict()} if scaler.is_enabled() else {}
    torch.save({"model": model, "optimizer": optimizer.state_dict(), "step": checkpoint.step} | scale, args.output)


if __name__ == "__main__":
    main()
