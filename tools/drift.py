"""Measure how far low-bit optimizer states lead from f32, with the same gradients.

A small network learns handwritten digits with torch.optim.AdamW in f32, and its gradients are
recorded (see record_torch.py). Then everybody gets exactly these gradients, wherever the parameters
have got to by then, so that nothing but the rounding of the state tells one result from another:

    fallline            `fallline replay` of the recorded run, with every format of the state
    torchao             AdamW8bit, AdamW4bit and AdamWFp8 on the CPU, compiled as they compile
                        themselves, which takes a minute
    exact               torch.optim.AdamW whose moments are rounded after every step to the nearest
                        code, found in f64, by fallline's rule for eight bits
    exact, as torchao   the same by torchao's rule
    exact, but v > 0    by torchao's, but for second moments above 0, which never become 0

Both rules share bitsandbytes' code books, blocks of 256 elements, and an update from the moments
before they are rounded. With fallline's, what lies in the middle goes to the code of the larger
magnitude, a negative value never becomes 0, and neither does a second moment above 0; with
torchao's, it goes to the larger code, and nothing keeps a value from becoming 0.

The table gives the mean and the largest distance of the parameters from those in f32 (`/ path`: the
mean by the mean distance that f32 went from the initial parameters), and the network's loss and
accuracy with these parameters on the images that it has not seen. Tensors under 4096 elements keep
their state in f32 everywhere and do not count. The last lines compare an implementation with the
exact computation of its own rule.

bitsandbytes is not here: on the CPU it looks codes up in a table that need not give the nearest.

    cargo build --release -p fallline-cli
    python tools/drift.py
    python tools/drift.py --formats bf16,int8 --json drift.json

It takes torch, torchao, numpy and safetensors. Equal seeds give equal results on one machine.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from record_torch import Recorder

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target/release/fallline"
DIGITS = ROOT / "crates/cli/data/digits.csv"
TRAIN_LEN = 1437  # of the images; the others are to test
BLACK = 16.0
# Both weights are large enough to be rounded, and whole blocks of 256.
HIDDEN = 512
MIN_STATE_ELEMS = 4096
BLOCK = 256
TORCHAO = {"int8": "AdamW8bit", "int4": "AdamW4bit", "fp8": "AdamWFp8"}


class DriftError(Exception):
    """What is asked for cannot be measured."""


class Digits:
    """The images, shuffled: those to train with, and those to test with."""

    def __init__(self, generator):
        table = torch.from_numpy(numpy.loadtxt(DIGITS, delimiter=",", dtype=numpy.int64))
        table = table[torch.randperm(len(table), generator=generator)]
        pixels, labels = table[:, :-1] / BLACK, table[:, -1]
        self.train = pixels[:TRAIN_LEN], labels[:TRAIN_LEN]
        self.test = pixels[TRAIN_LEN:], labels[TRAIN_LEN:]


class Run:
    """The recorded run: where it began, what it was fed, where f32 led."""

    def __init__(self, arguments, folder):
        generator = torch.Generator().manual_seed(arguments.seed)
        torch.manual_seed(arguments.seed)
        self.digits = Digits(generator)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(64, HIDDEN), torch.nn.GELU(), torch.nn.Linear(HIDDEN, 10))
        self.options = {"lr": arguments.lr, "weight_decay": 0.01}
        self.steps = arguments.steps
        optimizer = torch.optim.AdamW(self.model.parameters(), foreach=False, **self.options)
        recorder = Recorder(optimizer, self.model.named_parameters())
        pixels, labels = self.digits.train
        for _ in range(self.steps):
            batch = torch.randint(TRAIN_LEN, (arguments.batch,), generator=generator)
            optimizer.zero_grad()
            cross_entropy(self.model(pixels[batch]), labels[batch]).backward()
            optimizer.step()
        self.trace = folder / "drift.safetensors"
        self.config = recorder.save(self.trace).read_text(encoding="utf-8")
        self.names = [name for name, _ in self.model.named_parameters()]
        self.initial = {name: recorder.tensors[f"param/{name}"] for name in self.names}
        self.grads = recorder.tensors
        self.final = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def repeat(self, kind, rounding=None, **options):
        """The parameters after the same gradients, given to another optimizer.

        rounding   what becomes of the moments after every step: a function of the values and of
                   whether they are never negative
        """
        parameters = {name: torch.nn.Parameter(self.initial[name].clone()) for name in self.names}
        optimizer = kind(parameters.values(), **self.options, **options)
        for t in range(1, self.steps + 1):
            for name, parameter in parameters.items():
                parameter.grad = self.grads[f"grad/{t}/{name}"].clone()
            optimizer.step()
            if rounding is None:
                continue
            for parameter in parameters.values():
                if parameter.numel() >= MIN_STATE_ELEMS:
                    state = optimizer.state[parameter]
                    state["exp_avg"].copy_(rounding(state["exp_avg"], unsigned=False))
                    state["exp_avg_sq"].copy_(rounding(state["exp_avg_sq"], unsigned=True))
        return {name: parameter.detach() for name, parameter in parameters.items()}

    def flat(self, parameters):
        """All parameters whose state is rounded, in f64."""
        large = [name for name in self.names if self.initial[name].numel() >= MIN_STATE_ELEMS]
        return torch.cat([parameters[name].double().flatten() for name in large])

    def difference(self, found, expected):
        """The mean and the largest distance of parameters from others."""
        distance = (self.flat(found) - self.flat(expected)).abs()
        return {"mean_abs": distance.mean().item(), "max_abs": distance.max().item()}

    @torch.no_grad()
    def test(self, parameters):
        """The network's loss and accuracy with these parameters."""
        pixels, labels = self.digits.test
        output = torch.func.functional_call(self.model, parameters, pixels)
        return {"loss": cross_entropy(output, labels).item(),
                "accuracy": (output.argmax(1) == labels).double().mean().item()}


def book(unsigned):
    """The 256 values of bitsandbytes' dynamic code book, ascending, each an f32."""
    values = [0.0, 1.0]
    for decade in range(7):
        edges = numpy.linspace(0.1, 1.0, 2 ** (decade + unsigned) + 1)
        middles = 10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2
        values += [*middles] if unsigned else [*middles, *-middles]
    return numpy.sort(numpy.float32(values)).astype(numpy.float64)


def nearest_code(values, unsigned, keeps_nonzero):
    """Round to the nearest code, in blocks of 256, and decode again.

    keeps_nonzero   by fallline's rule; else by torchao's
    """
    codes_of, flat = book(unsigned), values.detach().numpy().ravel()
    blocks = numpy.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    absmax = numpy.abs(blocks).max(axis=1, keepdims=True)
    if not keeps_nonzero:
        absmax = numpy.maximum(absmax, numpy.float32(1e-12))
    quotient = blocks.astype(numpy.float64) / numpy.where(absmax > 0, absmax, 1)
    borders = (codes_of[:-1] + codes_of[1:]) / 2
    codes = numpy.searchsorted(borders, quotient, side="right")
    if keeps_nonzero:
        zero = int(numpy.flatnonzero(codes_of == 0)[0])
        negative = numpy.searchsorted(borders, quotient, side="left")
        codes = numpy.where(quotient < 0, numpy.minimum(negative, zero - 1), codes)
        if unsigned:
            codes = numpy.where(quotient > 0, numpy.maximum(codes, zero + 1), codes)
    decoded = codes_of[codes].astype(numpy.float32) * absmax
    return torch.from_numpy(decoded.ravel()[:len(flat)]).view_as(values)


def exact(values, unsigned):
    return nearest_code(values, unsigned, keeps_nonzero=True)


def exact_torchao(values, unsigned):
    return nearest_code(values, unsigned, keeps_nonzero=False)


def exact_positive(values, unsigned):
    return nearest_code(values, unsigned, keeps_nonzero=unsigned)


def replay(binary, trace, config, *more):
    """Run `fallline replay`; whatever it complains about is an error."""
    command = [binary, "replay", trace, "--config", config, *more]
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise DriftError(f"cannot run {binary}: {error.strerror}; build it with `cargo build "
                         "--release -p fallline-cli`, or name it with --fallline") from error


def known_formats(binary, folder):
    """The formats of the state that the binary has: those it lists when asked for another."""
    config = folder / "unknown.toml"
    config.write_text('[optimizer]\nrule = "adamw"\nstate = "?"\n', encoding="utf-8")
    said = replay(binary, folder / "none.safetensors", config).stderr
    formats = re.findall(r'"(\w+)"', said.partition("must be")[2])
    if not formats:
        raise DriftError(f"{binary} knows no formats of the state: {said.strip()}")
    return formats


def fallline(binary, run, folder, state):
    """The final parameters of a replay with this format of the state."""
    config, out = folder / f"{state}.toml", folder / f"{state}.safetensors"
    kept = f'[optimizer]\nstate = "{state}"\nmin_state_elems = {MIN_STATE_ELEMS}'
    config.write_text(run.config.replace("[optimizer]", kept, 1), encoding="utf-8")
    # How far it is, is asked here; a NaN fails all the same.
    ran = replay(binary, run.trace, config, "--out", out, "--rtol", "1e30", "--atol", "1e30")
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().splitlines() or ["nothing"]
        raise DriftError(f"fallline replay with state {state} failed and said: {said[-1]}")
    tensors = load_file(out)
    return {name: tensors[f"param/{name}"] for name in run.names}


def torchao(run, kind):
    """The final parameters of an optimizer of torchao's."""
    try:
        import torchao.optim
    except ImportError as error:
        raise DriftError(f"torchao cannot be imported ({error}): pip install torchao, "
                         "or leave it out with --no-torchao") from error
    return run.repeat(getattr(torchao.optim, kind))


def measure(arguments, folder):
    """The result, as the JSON holds it."""
    binary = arguments.fallline
    known = known_formats(binary, folder)
    for name in arguments.formats or []:
        if name not in known:
            raise DriftError(f"--formats: {binary} takes {', '.join(known)}, found {name}")
    run = Run(arguments, folder)
    results = {("f32", "torch"): run.final}
    # What torchao has and the binary has not is measured too.
    for state in arguments.formats or dict.fromkeys([*known, *TORCHAO]):
        if state in known:
            results[state, "fallline"] = fallline(binary, run, folder, state)
        if state == "int8":
            results[state, "exact"] = run.repeat(torch.optim.AdamW, exact, foreach=False)
        if state in TORCHAO and arguments.torchao:
            results[state, "torchao"] = torchao(run, TORCHAO[state])
        if state == "int8":
            results[state, "exact, as torchao"] = run.repeat(
                torch.optim.AdamW, exact_torchao, foreach=False)
            results[state, "exact, but v > 0"] = run.repeat(
                torch.optim.AdamW, exact_positive, foreach=False)
    path = run.difference(run.final, run.initial)["mean_abs"]

    def row(state, who, parameters):
        far = run.difference(parameters, run.final)
        return {"format": state, "implementation": who, **far, "by_path": far["mean_abs"] / path,
                **run.test(parameters)}

    pairs = [("fallline", "exact"), ("torchao", "exact, as torchao"), ("fallline", "torchao")]
    return {
        "torch": torch.__version__, "seed": arguments.seed, "steps": run.steps, "lr": arguments.lr,
        "batch": arguments.batch, "parameters": len(run.flat(run.final)), "mean_path": path,
        "rows": [row(*key, parameters) for key, parameters in results.items()],
        "pairs": [{"format": "int8", "found": a, "against": b,
                   **run.difference(results["int8", a], results["int8", b])}
                  for a, b in pairs if ("int8", a) in results and ("int8", b) in results],
    }


def table(result):
    """The result as text."""
    lines = [f"{result['steps']} steps of AdamW, lr {result['lr']}, seed {result['seed']}, "
             f"{result['parameters']} parameters that went {result['mean_path']:.2e} on the "
             f"average; torch {result['torch']}", "",
             f"{'format':10}{'implementation':20}{'mean':>10}{'/ path':>10}{'largest':>10}"
             f"{'loss':>8}{'accuracy':>10}"]
    lines += [f"{row['format']:10}{row['implementation']:20}{row['mean_abs']:10.2e}"
              f"{row['by_path']:10.2e}{row['max_abs']:10.2e}{row['loss']:8.4f}"
              f"{row['accuracy']:10.1%}" for row in result["rows"]]
    lines += [""] + [f"{pair['format']}, {pair['found']} against {pair['against']}: "
                     f"mean {pair['mean_abs']:.2e}, largest {pair['max_abs']:.2e}"
                     for pair in result["pairs"]]
    return "\n".join(lines)


def _formats(text):
    return [name.strip() for name in text.split(",")]


def _count(text):
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {number}")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", type=_formats, help="of the state, with commas; default: all "
                        "that the binary knows")
    parser.add_argument("--fallline", default=BINARY, type=Path, help=f"the binary; {BINARY}")
    parser.add_argument("--no-torchao", dest="torchao", action="store_false",
                        help="leave torchao's own optimizers out")
    parser.add_argument("--steps", default=500, type=_count)
    parser.add_argument("--batch", default=64, type=_count, help="images in a step")
    parser.add_argument("--lr", default=1e-3, type=float)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--folder", type=Path, help="where the trace (77 MB for 500 steps) and the "
                        "final parameters stay; default: nowhere")
    parser.add_argument("--json", type=Path, help="write the result here too")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore", message=".*_stable_hash_for_caching.*")
    torch.use_deterministic_algorithms(True)
    try:
        if arguments.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                result = measure(arguments, Path(folder))
        else:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            result = measure(arguments, arguments.folder)
    except DriftError as error:
        sys.exit(f"drift.py: {error}")
    print(table(result))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
