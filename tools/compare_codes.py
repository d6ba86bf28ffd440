"""Compare the codes of `fallline quantize` with those of torch and torchao.

Random tensors of several kinds are quantized by the binary. The same is done with torchao's
`quantize_8bit_with_qmap` and `quantize_4bit_with_qmap`, and with torch's cast to float8_e4m3fn.
For each format it prints how many codes differ, and why:

    zero's sign  both are 0
    sign rule    signed int8: a negative value never becomes 0
    not zero     unsigned int8 and fp8: a value above 0 never becomes 0
    tie          the quotient is the middle between both codes: ours goes to the larger magnitude,
                 torchao's upwards
    rounding     it lies within RELATIVE of the middle: torch rounds it to f32, as it does its map;
                 fallline compares with borders times absmax, in f32 too
    tiny scale   fp8: absmax / 448 is subnormal, which a GPU may flush
    UNEXPLAINED  none of these; then the exit status is 1

Scales are compared too. The same ones are given to torch: those of torchao are never below 1e-12,
which makes blocks of smaller values 0.

    pip install torch torchao numpy safetensors
    python tools/compare_codes.py target/release/fallline
"""

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torchao.optim.quant_utils import (
    create_dynamic_map,
    quantize_4bit_with_qmap,
    quantize_8bit_with_qmap,
)

RELATIVE = 2.0**-21
BLOCK = {"int8": 256, "int4": 128, "fp8": 256}
MAPS = {
    ("int8", True): create_dynamic_map(True),
    ("int8", False): create_dynamic_map(False),
    ("int4", True): create_dynamic_map(True, 3, 4),
    ("int4", False): torch.linspace(0, 1, 17)[1:].tolist(),
}


def tensors(signed: bool) -> dict[str, torch.Tensor]:
    """Random values of several kinds, lengths and dtypes, in [len]."""
    kinds = {
        "normal": lambda n: torch.randn(n),
        "wide": lambda n: torch.randn(n).sign() * 10 ** (-9 * torch.rand(n)),
        "tiny": lambda n: torch.randn(n) * 1e-20,
        "smallest": lambda n: torch.randn(n) * 1e-37,
        "huge": lambda n: torch.rand(n) * 3e38,
        "sparse": lambda n: torch.randn(n) * (torch.rand(n) < 0.01),
        "zeros": lambda n: torch.zeros(n),
        "grid": lambda n: torch.randint(-(2**10), 2**10, (n,)) / 2**10,
    }
    made = {}
    for kind, make in kinds.items():
        for dtype in [torch.float32, torch.float16, torch.bfloat16]:
            if kind in ("tiny", "smallest", "huge") and dtype == torch.float16:
                continue
            for n in [1, 127, 257, 1001, 100_000]:
                values = make(n)
                values = values if signed else values.abs()
                values = values.to(dtype)
                values[~values.isfinite()] = 0
                made[f"{kind}.{str(dtype)[6:]}.{n}"] = values
    return made


def quantized(binary: str, values: dict[str, torch.Tensor], form: str, signed: bool):
    """What the binary makes of these tensors."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
        save_file(values, source)
        sign = "--signed" if signed else "--unsigned"
        command = [binary, "quantize", source, target, "--format", form, sign]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return load_file(target)


def blocks(values: torch.Tensor, size: int) -> torch.Tensor:
    """In rows of a block each, zeros behind the last value."""
    values = values.float()
    rest = -len(values) % size
    return torch.cat([values, torch.zeros(rest)]).view(-1, size)


def ours(found: dict, name: str, form: str, len_elems: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes, one a byte, and absmax (fp8: the scales) of each block."""
    codes = found[name]
    if form == "fp8":
        return codes.view(torch.uint8), found[f"{name}.scale"]
    if form == "int4":
        codes = torch.stack([codes >> 4, codes & 15], 1).view(-1)[:len_elems]
    return codes, found[f"{name}.absmax"]


def theirs(values: torch.Tensor, form: str, signed: bool, scales: torch.Tensor) -> torch.Tensor:
    """The codes of torch, in whole blocks."""
    quotients = values / scales.where(scales > 0, 1).view(-1, 1)
    if form == "fp8":
        return quotients.to(torch.float8_e4m3fn).view(torch.uint8)
    qmap = torch.tensor(MAPS[form, signed])
    quantize = quantize_8bit_with_qmap if form == "int8" else quantize_4bit_with_qmap
    return quantize(quotients, qmap)


def decoded(codes: torch.Tensor, form: str, signed: bool) -> torch.Tensor:
    """The values of codes by absmax (fp8: by the scale), in f64."""
    if form == "fp8":
        return codes.view(torch.float8_e4m3fn).double()
    qmap = torch.tensor(MAPS[form, signed], dtype=torch.float64)
    return qmap[codes.int()]


def reasons(values, a, b, scales, form: str, signed: bool) -> Counter:
    """Why codes a (ours) and b (torch's) of these values differ. All are in rows of a block."""
    scale = scales.double().view(-1, 1).expand_as(a)
    quotient = values.double() / scale
    ours, torchs = decoded(a, form, signed), decoded(b, form, signed)
    middle = (ours + torchs) / 2
    near = (quotient - middle).abs() <= RELATIVE * middle.abs()
    adjacent = (a.int() - b.int()).abs() == 1
    differ = a != b
    tests = {
        "zero's sign": (ours == 0) & (torchs == 0),
        "sign rule": (form == "int8") & signed & (values < 0) & (torchs == 0) & (a == 126),
        "not zero": (form != "int4") & (not signed) & (values > 0) & (torchs == 0) & (a == 1),
        "tie": adjacent & (quotient == middle) & (ours.abs() > torchs.abs()),
        "rounding": adjacent & near,
        "tiny scale": (form == "fp8") & (scale < 2.0**-126),
        "UNEXPLAINED": torch.ones_like(differ),
    }
    counts = Counter()
    for reason, test in tests.items():
        here = differ & test
        counts[reason] += int(here.sum())
        differ = differ & ~here
    return counts


def compare(binary: str, form: str, signed: bool) -> Counter:
    values = tensors(signed)
    found = quantized(binary, values, form, signed)
    counts, bad = Counter(), []
    for name, tensor in values.items():
        codes, scales = ours(found, name, form, len(tensor))
        rows = blocks(tensor, BLOCK[form])
        absmax = rows.abs().amax(1)
        expected = absmax / 448 if form == "fp8" else absmax
        counts["scales"] += len(scales)
        # A quotient may be wrong by some units in the last place, or flushed to 0.
        close = (scales - expected).abs() <= (expected * 2.0**-22 if form == "fp8" else 0.0)
        wrong = ~close & ~((form == "fp8") & (expected < 2.0**-126))
        counts["scales differ"] += int((scales != expected).sum())
        counts["UNEXPLAINED"] += int(wrong.sum())
        if wrong.any():
            bad.append(f"{name}: {int(wrong.sum())} wrong scales")
        torchs = theirs(rows, form, signed, scales)
        # What fills up the last block has no code.
        whole = torchs.reshape(-1).clone()
        whole[: len(tensor)] = codes
        why = reasons(rows, whole.view_as(torchs), torchs, scales, form, signed)
        counts["codes"] += len(tensor)
        counts.update(why)
        if why["UNEXPLAINED"]:
            bad.append(f"{name}: {why['UNEXPLAINED']}")
    print(f"{form}, {'signed' if signed else 'unsigned'}: {counts.pop('codes')} codes", end=", ")
    print(f"{counts.pop('scales')} scales, of which {counts.pop('scales differ')} differ")
    for reason, count in counts.items():
        if count:
            print(f"    {reason:12} {count}")
    for line in bad:
        print(f"    {line}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    counts = Counter()
    for form in BLOCK:
        for signed in [True, False]:
            counts.update(compare(args.binary, form, signed))
    raise SystemExit(1 if counts["UNEXPLAINED"] else 0)


if __name__ == "__main__":
    main()
