"""Read a checkpoint of fallline into PyTorch tensors.

    from read_checkpoint import Checkpoint

    checkpoint = Checkpoint("runs/digits/checkpoint-1000.safetensors")
    checkpoint.step, checkpoint.extra, checkpoint.groups
    checkpoint.param("weight")      # in its own dtype; None where the caller kept it elsewhere
    checkpoint.master("weight")     # the f32 that is kept of a 16-bit parameter, or None
    checkpoint.state("weight")      # {"exp_avg": ..., "exp_avg_sq": ...}, f32 and bf16
    checkpoint.taken("weight")      # how many steps the tensor has taken

The file is one of safetensors: `safetensors.safe_open` gives codes and scales as they are. docs/checkpoint.md
describes it. From the command line:

    pip install torch safetensors
    python tools/read_checkpoint.py checkpoint-1000.safetensors              # what is in it
    python tools/read_checkpoint.py checkpoint-1000.safetensors --out values.safetensors

The second writes all values: param/<tensor>, master/<tensor>, state/<slot>/<tensor>.
"""

import argparse
import json
import math
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

VERSION = 1
BLOCK = {"int8": 256, "int4": 128, "fp8": 256, "companded": 32}


class CheckpointError(Exception):
    """A file that is no checkpoint, or none that is whole."""


class Checkpoint:
    """A checkpoint, all of its checksums compared."""

    def __init__(self, path, verify=True):
        self.path = Path(path)
        with safe_open(self.path, framework="pt") as file:
            self.metadata = file.metadata() or {}
            version = self.metadata.get("fallline_checkpoint")
            if version != str(VERSION):
                raise CheckpointError(f"{path}: the version must be {VERSION}, found {version}")
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}
        if verify:
            self._verify()
        self.step = int(self.metadata["step"])
        self.extra = json.loads(self.metadata["extra"])
        self.groups = json.loads(self.metadata["groups"])

    def _verify(self):
        """Compare what zlib makes of the header and of each tensor with what was written."""
        bytes_ = self.path.read_bytes()
        begin = 8 + int.from_bytes(bytes_[:8], "little")
        own = self.metadata["crc32"]
        header = bytes_[:begin].replace(f'"crc32":"{own}"'.encode(), b'"crc32":"00000000"')
        self._check("the header", own, header)
        for name, info in json.loads(bytes_[8:begin]).items():
            if name != "__metadata__":
                first, last = info["data_offsets"]
                data = bytes_[begin + first : begin + last]
                self._check(f"tensor '{name}'", self.metadata[f"crc32/{name}"], data)

    def _check(self, what, expected, data):
        found = f"{zlib.crc32(data):08x}"
        if found != expected:
            raise CheckpointError(f"{self.path} is damaged: the CRC-32 of {what} must be {expected}, found {found}")

    def names(self):
        """The parameters, in the order of the groups."""
        return [name for group in self.groups for name in group["tensors"]]

    def rule(self, name):
        """The rule of a parameter, with its switches: "adamw amsgrad"."""
        return bytes(self.tensors[f"rule/{name}"].tolist()).decode()

    def taken(self, name):
        """How many steps a parameter has taken."""
        return int(self.tensors[f"step/{name}"])

    def param(self, name):
        """A parameter in its own dtype, or None."""
        return self.tensors.get(f"param/{name}")

    def master(self, name):
        """What is kept of a parameter beyond its 16 bits, in f32, or None."""
        master, remainder = (self.tensors.get(f"{what}/{name}") for what in ("master", "remainder"))
        if master is not None or remainder is None:
            return master
        return joined(self.param(name), remainder)

    def state(self, name):
        """What the rule keeps for a parameter, by slots."""
        slots = (key.split("/", 2) for key in self.tensors if key.startswith("state/"))
        return {slot: self.slot(name, slot) for _, slot, tensor in slots if tensor == name}

    def slot(self, name, slot):
        """One slot: in f32, or in bf16 if it is kept so."""
        key = f"state/{slot}/{name}"
        encoding = json.loads(self.metadata.get(f"encoding/{key}", "null"))
        if encoding is None:
            return self.tensors[key]
        blocks = encoding["blocks"]
        return decoded(self.tensors[key], self.tensors[f"scale/{slot}/{name}"], **blocks)

    def values(self):
        """All of it, by the names that `fallline replay --out` has."""
        values = {}
        for name in self.names():
            found = {f"param/{name}": self.param(name), f"master/{name}": self.master(name)}
            found |= {f"state/{slot}/{name}": value.float() for slot, value in self.state(name).items()}
            values |= {key: value for key, value in found.items() if value is not None}
        return values


def decoded(codes, scales, *, format, signed, shape):
    """The values of codes by their blocks' scales, in f32."""
    count = math.prod(shape)
    if format == "int4":  # of two in a byte, the first is in the upper half
        codes = torch.stack([codes >> 4, codes & 15], 1)
    codes = codes.reshape(-1)[:count]
    scales = scales.float().repeat_interleave(BLOCK[format])[:count]
    if format in ("int8", "int4"):
        bits = int(format[3:])
        values = torch.tensor(code_book(bits, signed), dtype=torch.float64).float()[codes.int()] * scales
    elif format == "fp8":
        values = codes.float() * scales
    elif signed:
        values = codes.float() / (254.0 - codes.float().abs()) * scales
    else:
        values = (codes.float() / 255.0 * scales).square()
    return values.reshape(shape)


def code_book(bits, signed):
    """The values of bitsandbytes' `create_dynamic_map(signed, bits - 1, bits)`; unsigned of four bits, torchao's."""
    if bits == 4 and not signed:
        return [(code + 1) / 16 for code in range(16)]
    decades = bits - 1
    values = [0.0, 1.0]
    for decade in range(decades):
        parts = 2**decade if signed else 2 ** (decade + 1)
        for part in range(parts):
            value = 10.0 ** (decade + 1 - decades) * (0.1 + 0.9 * (part + 0.5) / parts)
            values += [value, -value] if signed else [value]
    return sorted(values)


def joined(param, remainder):
    """The f32 of a bf16 parameter and the bits that it lacks: to its magnitude's bits the remainder is added, as
    one of 16 bits with a sign."""
    wide = remainder.view(torch.int16).int() if remainder.element_size() == 2 else remainder.view(torch.int8).int() << 8
    bits = param.view(torch.int16).int()
    magnitude = (bits & 0x7FFF) << 16
    most = torch.where((bits & 0x7FFF) == 0x7F80, 0x7F800000, 0x7FFFFFFF)
    magnitude = (magnitude.long() + wide).clamp(min=0).minimum(most).int()
    sign = torch.where(bits < 0, torch.tensor(-(2**31), dtype=torch.int32), 0)
    return (magnitude | sign).view(torch.float32)


def main():
    parser = argparse.ArgumentParser(description="Read a checkpoint of fallline.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, help="write all values here, as safetensors")
    args = parser.parse_args()
    checkpoint = Checkpoint(args.checkpoint)
    if args.out:
        save_file({name: value.contiguous() for name, value in checkpoint.values().items()}, args.out)
        return
    print(f"step {checkpoint.step}, checksums are right")
    for group in checkpoint.groups:
        print(f"group {group['name']}: {group['rule']} {json.dumps(group['options'])}")
        for name in group["tensors"]:
            slots = ", ".join(f"{slot} {list(value.shape)}" for slot, value in checkpoint.state(name).items())
            print(f"  {name}: {checkpoint.taken(name)} steps; {slots or 'no state'}")


if __name__ == "__main__":
    main()
