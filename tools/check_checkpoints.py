"""Hold the conversion of checkpoints against PyTorch and against the engine.

For every optimizer of torch.optim that there is a rule for, Lion and Adam-mini, on the golden traces, some of them with a
GradScaler:

    there and back  the state dict after half of the steps, through a checkpoint, is the same to the bit
    into fallline   the engine takes the other half from that checkpoint, and comes out within the golden tolerance
    into torch      PyTorch takes the other half from a checkpoint of the engine's, and is as near to PyTorch alone
    values          what read_checkpoint.py decodes is what the engine reads, to the bit, in every format of state and
                    with every way to keep 16-bit parameters

    pip install -r tests/golden/requirements.txt
    python tools/check_checkpoints.py target/debug/fallline
    python tools/check_checkpoints.py target/debug/fallline --write     # tests/golden/checkpoints/torch_*.safetensors
"""

import argparse
import copy
import subprocess
import sys
import tempfile
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from convert_checkpoint import adam_mini, load_checkpoint, write_checkpoint
from read_checkpoint import Checkpoint
from recording.references import class_of

GOLDEN = Path(__file__).resolve().parents[1] / "tests/golden"
CASES = ["adam_mini", "adam_mini_options", "amp_clip", "amp_fp16", "amp_lion", "amp_sgd_first",
         "adadelta", "adadelta_options", "adafactor", "adafactor_options", "adagrad", "adagrad_options", "adam",
         "adam_amsgrad", "adamax", "adamax_options", "adamw", "adamw_amsgrad", "adamw_maximize", "asgd", "asgd_options",
         "groups", "lion", "missing_grads", "nadam", "nadam_decoupled", "radam", "radam_decoupled", "rmsprop",
         "rmsprop_centered", "rprop", "rprop_options", "sgd_missing_first", "sgd_momentum", "sgd_nesterov", "sgd_plain"]
# Those that lie in tests/golden/checkpoints: one of each rule, and one with a loss scale.
WRITTEN = ["adam_mini", "amp_fp16", "adadelta", "adafactor", "adagrad", "adam_amsgrad", "adamax", "adamw", "asgd", "lion", "nadam", "radam",
           "rmsprop_centered", "rprop", "sgd_momentum"]
# Of the config, but not of the rule.
BESIDES = {"rule", "names", "tensors"}


class Run:
    """A golden trace, and an optimizer of PyTorch that takes its steps."""

    def __init__(self, case):
        self.trace = load_file(GOLDEN / f"{case}.safetensors")
        self.config = tomllib.loads((GOLDEN / f"{case}.toml").read_text())
        names = [key.removeprefix("param/") for key in self.trace if key.startswith("param/")]
        self.steps = max(int(key.split("/")[1]) for key in self.trace if key.startswith(("grad/", "lr/")))
        base, groups = self.config["optimizer"], self.config.get("group", [])
        members = [[name for name in names if name in group.get("names", [])
                    or any(fnmatchcase(name, glob) for glob in group.get("tensors", []))] for group in groups]
        base = base | {"names": [name for name in names if name not in sum(members, [])]}
        self.tables = [base] + [base | group | {"names": own} for group, own in zip(groups, members)]
        self.kind = class_of(base["rule"])

    def fresh(self):
        """The optimizer and its parameters before the first step."""
        parameters = {key.removeprefix("param/"): torch.nn.Parameter(value.clone())
                      for key, value in self.trace.items() if key.startswith("param/")}
        scale = self.config.get("loss_scale")
        scaler = scale and torch.amp.GradScaler("cpu", scale["init"], scale["growth"], scale["backoff"],
                                                scale["interval"])
        if scaler:
            scaler.scale(torch.zeros(1))  # which makes it ready
        if self.kind.__name__ == "Adam_mini":
            return self.adam_mini(parameters), parameters, scaler
        groups = [{"params": [parameters[name] for name in table["names"]]}
                  | {key: tuple(value) if isinstance(value, list) else value
                     for key, value in table.items() if key not in BESIDES} for table in self.tables]
        if self.kind.__name__ == "Adafactor":
            groups = [{key: (None, 1e-3) if key == "eps" and value is None else value
                       for key, value in group.items()} for group in groups]
        options = {} if self.kind.__module__.startswith("lion") else {"foreach": False}
        if self.kind.__name__ == "Adagrad":  # which makes its state before it knows the groups' options
            options |= {key: self.tables[0][key] for key in ("initial_accumulator_value",)
                        if key in self.tables[0]}
        return self.kind(groups, lr=self.tables[0]["lr"], **options), parameters, scaler

    def adam_mini(self, parameters):
        """Which makes a group of each parameter, as the config has them."""
        named = [(name, parameters[name]) for table in self.tables for name in table["names"]]
        heads = {parameters[name].numel() // table["heads"] for table in self.tables
                 if table["blocks"] == "heads" for name in table["names"]}
        optimizer = adam_mini(self.kind, named, heads)
        for group, table in zip(optimizer.param_groups, self.tables, strict=True):
            group |= {key: table[key] for key in ("lr", "eps", "weight_decay")}
            group["beta1"], group["beta2"] = table["betas"]
        return optimizer

    def take(self, optimizer, parameters, scaler, steps):
        for step in steps:
            for name, parameter in parameters.items():
                grad = self.trace.get(f"grad/{step}/{name}")
                parameter.grad = None if grad is None else grad.to(parameter.dtype, copy=True)
            rates = self.trace.get(f"lr/{step}")
            for number, group in enumerate(optimizer.param_groups if rates is not None else []):
                group["lr"] = (rates[number] if len(rates) > 1 else rates[0] *
                               self.tables[number]["lr"] / self.tables[0]["lr"]).item()
            if scaler is None:
                optimizer.step()
                continue
            scaler.unscale_(optimizer)
            if "norm" in self.config.get("clip", {}):
                torch.nn.utils.clip_grad_norm_(parameters.values(), self.config["clip"]["norm"])
            scaler.step(optimizer)
            scaler.update()

    def deviation(self, found, expected, rtol=1.3e-6, atol=1e-6):
        """The largest part of the golden tolerance that lies between two results: optimizers and parameters."""
        worst = 0.0
        for name, parameter in expected[1].items():
            pairs = [(found[1][name].detach(), parameter.detach())]
            state = expected[0].state.get(parameter, {})
            pairs += [(torch.as_tensor(found[0].state[found[1][name]][slot]).double(),
                       torch.as_tensor(value).double()) for slot, value in state.items()]
            for one, other in pairs:
                part = (one - other).abs() / (atol + rtol * other.abs())
                part = part.where(one != other, 0.0)
                worst = max(worst, part.max().item() if part.numel() else 0.0)
        return worst


def same(a, b):
    """Whether two state dicts are the same, types and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def replay(binary, *arguments):
    ran = subprocess.run([binary, "replay", *arguments], capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{ran.stdout}{ran.stderr}")


def check(binary, case, folder, write):
    run, files = Run(case), (GOLDEN / f"{case}.safetensors", "--config", GOLDEN / f"{case}.toml")
    half = run.steps // 2
    optimizer, parameters, scaler = run.fresh()
    run.take(optimizer, parameters, scaler, range(1, half + 1))
    there = folder / f"{case}.safetensors"
    write_checkpoint(there, optimizer, parameters.items(), step=half, scaler=scaler)
    if write and case in WRITTEN:
        (GOLDEN / "checkpoints").mkdir(exist_ok=True)
        (GOLDEN / "checkpoints" / f"torch_{case}.safetensors").write_bytes(there.read_bytes())

    back, values, scale = run.fresh()
    before = copy.deepcopy((optimizer.state_dict(), scaler and scaler.state_dict()))
    load_checkpoint(there, back, values.items(), scaler=scale)
    exact = same(before, (back.state_dict(), scale and scale.state_dict())) and all(
        torch.equal(values[name], parameters[name]) for name in values)
    replay(binary, *files, "--resume", there, "--atol", "1e-6")

    # What comes of the steps must not be in the half.
    trace = {key: value for key, value in run.trace.items() if not key.startswith("expect")
             and (key.startswith("param/") or int(key.split("/")[1]) <= half)}
    save_file(trace, folder / "half.safetensors")
    saved = folder / "saved.safetensors"
    replay(binary, folder / "half.safetensors", "--config", files[2], "--save", saved)
    back, values, scale = run.fresh()
    load_checkpoint(saved, back, values.items(), scaler=scale)
    for one in ((back, values, scale), (optimizer, parameters, scaler)):
        run.take(*one, range(half + 1, run.steps + 1))
    worst = run.deviation((back, values), (optimizer, parameters))
    if scaler:
        # torch multiplies the scale by what grows it in f64, the engine in f32.
        one, other = scale.state_dict(), scaler.state_dict()
        worst = max(worst, abs(one["scale"] / other["scale"] - 1) / 1.3e-6)
        exact &= one | {"scale": other["scale"]} == other
    return exact, worst


def check_values(binary, folder):
    """Every format of state, signed and unsigned, and every way to keep a parameter of 16 bits."""
    torch.manual_seed(0)
    checked = 0
    for state in ("f32", "bf16", "int8", "int4", "fp8", "companded"):
        for dtype, master in ((torch.float32, "none"), (torch.bfloat16, "remainder"), (torch.bfloat16, "remainder8"),
                              (torch.float16, "f32")):
            names = {"w": (37, 19), "b": (5,), "e": (0,)}
            trace = {f"param/{name}": torch.randn(shape).to(dtype) for name, shape in names.items()}
            trace |= {f"grad/{step}/{name}": torch.randn(shape) * 10.0 ** -step
                      for step in (1, 2, 3) for name, shape in names.items()}
            save_file(trace, folder / "values.trace.safetensors")
            config = f'[optimizer]\nrule = "adamw"\nmaster = "{master}"\nstate = "{state}"\nmin_state_elems = 0\n'
            (folder / "values.toml").write_text(config)
            out, saved = folder / "values.out.safetensors", folder / "values.safetensors"
            replay(binary, folder / "values.trace.safetensors", "--config", folder / "values.toml", "--out", out,
                   "--save", saved)
            expected, found = load_file(out), Checkpoint(saved).values()
            if not same(dict(sorted(expected.items())), dict(sorted(found.items()))):
                sys.exit(f"values of {state}, {dtype} {master} differ")
            checked += len(found)
    return checked


def main():
    parser = argparse.ArgumentParser(description="Check the conversion of checkpoints.")
    parser.add_argument("binary", type=Path)
    parser.add_argument("--write", action="store_true", help="write those that the tests keep")
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        print(f"values: {check_values(args.binary, Path(folder))} tensors, the same to the bit")
        for case in CASES:
            exact, worst = check(args.binary, case, Path(folder), args.write)
            failed |= not exact or worst > 1
            print(f"{case:<20}there and back {'to the bit' if exact else 'OTHERWISE'}, into fallline within "
                  f"tolerance, into torch {worst:.2f} of it")
    sys.exit(failed)


if __name__ == "__main__":
    main()
