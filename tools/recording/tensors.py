"""Tensors as a trace has them, and its file."""

import json

import torch
from safetensors.torch import save

FORMATS = (torch.float32, torch.float16, torch.bfloat16)


class TraceError(Exception):
    """The run cannot be told in the trace format."""


def copied(tensor, what, dtype=torch.float32):
    """A contiguous copy on the CPU, with the same values in `dtype`."""
    if tensor.dtype not in FORMATS or tensor.layout != torch.strided:
        raise TraceError(f"{what}: {tensor.dtype}, {tensor.layout}; only dense float32, float16 "
                         "and bfloat16 will do")
    tensor = tensor.detach().to("cpu", copy=True).contiguous()
    copy = tensor.to(dtype)
    if not torch.allclose(copy.float(), tensor.float(), rtol=0.0, atol=0.0, equal_nan=True):
        raise TraceError(f"{what}: {dtype} does not hold its values")
    return copy


def write(path, tensors, metadata):
    """Write a safetensors file, whose metadata safetensors itself would put in random order."""
    file = save(tensors, metadata)
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    path.write_bytes(file[:8] + text.ljust(end - 8) + file[end:])
