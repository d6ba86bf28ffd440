"""Measure optimizer steps of fallline and of PyTorch's low-bit optimizers side by side on the CPU.

In every round each contestant makes a few untimed steps and then some timed ones, in turns:

    fallline          `fallline bench --state int8`, and other formats asked for; the adapter is
                      whatever wgpu finds, which WGPU_ADAPTER_NAME chooses: for a fair comparison
                      one that runs on the CPU. With it comes fallline's step in f32
    torch             torch.optim.AdamW(fused=True), in f32
    torchao           AdamW8bit, AdamW4bit and AdamWFp8, compiled as they compile themselves
    bitsandbytes      AdamW8bit

All update the same shapes, those of `fallline bench --model`, with parameters and gradients in f32
between 0.5 and 1. All have the same number of threads (fallline's on lavapipe by LP_NUM_THREADS;
a GPU does not care). PyTorch's steps are timed by the clock on the wall around `step()`, fallline's
as `fallline bench` does: by the GPU's timestamps around the step's pass if they agree with the
clock, else by the clock around submit and wait; the table says which. Compilation is not timed.

The table gives nanoseconds for each parameter, the median of the rounds' medians and the rounds'
quartiles, and the time by that of fallline's first format in the same round, likewise. `state` are
the bytes for each parameter that the optimizer keeps, by the sizes of tensors and buffers; `rounded`
tells how many of the parameters have a state of few bits: tensors under 4096 elements have not, and
torchao leaves those out that are no whole number of blocks.

    cargo build --release -p fallline-cli
    python tools/bench_torch.py
    python tools/bench_torch.py --model gpt2-small --rounds 3 --json bench.json

It takes torch, torchao, bitsandbytes and numpy. Run it where nothing else runs: load hits steps
that take long, and threads that often wait for each other, harder than others, and so distorts even
the ratios. The table tells what share of the processors other processes had meanwhile, and --others
repeats rounds in which they had more (from /proc/stat, so Linux only).
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median, quantiles

BINARY = Path(__file__).resolve().parents[1] / "target/release/fallline"
MIN_STATE_ELEMS = 4096
LR = 1e-6  # as in `fallline bench`: parameters stay what they are
TRIES = 10  # so many rounds for each that counts
WARMUP_STEPS = 2  # of each round, as in `fallline bench`
OPTIMIZERS = {  # by name: module, class, options
    "torch fused f32": ("torch.optim", "AdamW", {"fused": True}),
    "torchao AdamW8bit": ("torchao.optim", "AdamW8bit", {}),
    "torchao AdamW4bit": ("torchao.optim", "AdamW4bit", {}),
    "torchao AdamWFp8": ("torchao.optim", "AdamWFp8", {}),
    "bitsandbytes AdamW8bit": ("bitsandbytes.optim", "AdamW8bit", {}),
}


class BenchError(Exception):
    """What is asked for cannot be measured."""


def shapes(model, width):
    """The tensors of `fallline bench --model`, whose source lists the same."""
    def scaled(dimension):
        return max(1, int(dimension * width + 0.5))

    side, d = scaled(128), scaled(768)
    if model == "one-big":
        return [(1000 * side, side)]
    if model == "many-small":
        return [(side, side)] * 1000
    norm = [(d,), (d,)]
    layer = [*norm, (d, 3 * d), (3 * d,), (d, d), (d,),
             *norm, (d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [(50257, d), (1024, d), *layer * 12, *norm]


class Torch:
    """Steps of optimizers of PyTorch's kind, all over the same parameters."""

    def __init__(self, shapes, names):
        import torch

        torch.manual_seed(0)
        self.parameters = [torch.nn.Parameter(torch.rand(shape) * 0.5 + 0.5) for shape in shapes]
        for parameter in self.parameters:
            parameter.grad = torch.rand_like(parameter) * 0.5 + 0.5
        self.params = sum(parameter.numel() for parameter in self.parameters)
        self.optimizers = {}
        for name in names:
            module, kind, options = OPTIMIZERS[name]
            kind = getattr(importlib.import_module(module), kind)
            self.optimizers[name] = kind(self.parameters, lr=LR, **options)

    def time(self, name, steps):
        """Seconds of each of these steps, after some that are not timed."""
        optimizer, seconds = self.optimizers[name], []
        for _ in range(WARMUP_STEPS + steps):
            start = time.perf_counter()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
        return seconds[WARMUP_STEPS:]

    def state_bytes(self, name):
        """Bytes of state for each parameter; the maps that tensors share count once."""
        maps, total = set(), 0
        for state in self.optimizers[name].state.values():
            for key, value in state.items():
                if not key.startswith("qmap") or value.data_ptr() not in maps:
                    total += _bytes(value)
                if key.startswith("qmap"):
                    maps.add(value.data_ptr())
        return total / self.params

    def rounded(self, name):
        """The share of the parameters whose state has few bits."""
        import torch

        def is_rounded(parameter):
            if name.endswith("f32"):
                return False
            if name.startswith("fallline"):
                return parameter.numel() >= MIN_STATE_ELEMS
            state = self.optimizers[name].state[parameter]
            moment = state.get("exp_avg", state.get("state1"))
            return type(moment) is not torch.Tensor or moment.dtype == torch.uint8

        return sum(p.numel() for p in self.parameters if is_rounded(p)) / self.params


def _bytes(value):
    """Bytes of a tensor, or of the tensors that make up one."""
    import torch

    if not isinstance(value, torch.Tensor):
        return 0
    if hasattr(value, "__tensor_flatten__"):
        return sum(_bytes(getattr(value, name)) for name in value.__tensor_flatten__()[0])
    return value.numel() * value.element_size()


def fallline(arguments, model, state, steps):
    """The row of `fallline bench`."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        command = [arguments.fallline, "bench", "--model", model, "--width", str(arguments.width),
                   "--state", state, "--no-baselines", "--steps", str(steps), "--json", rows]
        try:
            ran = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise BenchError(
                f"cannot run {arguments.fallline}: {error.strerror}; build it with `cargo build "
                "--release -p fallline-cli`, or name it with --fallline") from error
        if ran.returncode != 0:
            raise BenchError(f"fallline bench --state {state} failed: {ran.stderr.strip()}")
        return json.loads(rows.read_text(encoding="utf-8"))[0]


def play_round(arguments, model, subject, steps):
    """What everybody takes in one round, in ns per parameter, and fallline's rows by name."""
    found, rows = {}, {}
    for state in arguments.states:
        row = fallline(arguments, model, state, steps)
        tensors, params = len(subject.parameters), subject.params
        if (row["tensors"], row["params"]) != (tensors, params):
            raise BenchError(
                f"{model}: expected {tensors} tensors with {params} parameters, as this script "
                f"lists them, found {row['tensors']} with {row['params']}")
        found[f"fallline {state}"] = row["ns_per_param"]
        rows[f"fallline {state}"] = row
        if row["plain"] is not None:
            found["fallline f32"] = row["plain"]["ms_per_step"] * 1e6 / params
    for name in arguments.torch:
        found[name] = median(subject.time(name, steps)) * 1e9 / subject.params
    return found, rows


def measure(arguments, model):
    """The result for one model, as the JSON holds it."""
    subject = Torch(shapes(model, arguments.width), arguments.torch)
    # Compiles, and touches every page.
    play_round(arguments, model, subject, 1)
    rounds = []
    for tried in range(1, TRIES * arguments.rounds + 1):
        busy, began = _busy_elsewhere(), time.perf_counter()
        found, rows = play_round(arguments, model, subject, arguments.steps)
        busy = _busy_elsewhere() - busy
        others = max(0.0, busy / (time.perf_counter() - began) / os.cpu_count())
        counts = others <= arguments.others
        rounds += [{"other_processes": others, "ns_per_param": found}] if counts else []
        print(f"{model}, round {tried}: other processes had {others:.0%} of the processors, "
              f"{len(rounds)} of {arguments.rounds} rounds done", file=sys.stderr)
        if len(rounds) == arguments.rounds:
            break
    else:
        raise BenchError(f"--others: in {tried} rounds other processes had at most "
                         f"{arguments.others:.0%} of the processors only {len(rounds)} times")
    base = f"fallline {arguments.states[0]}"

    def row_of(name):
        times = [found["ns_per_param"][name] for found in rounds]
        ratios = [own / found["ns_per_param"][base] for own, found in zip(times, rounds)]
        if name in rows:
            state = rows[name]["state_bytes_per_param"]
        else:
            state = subject.state_bytes(name) if name in subject.optimizers else None
        return {"name": name, "rounded": subject.rounded(name),
                "state_bytes_per_param": state, "ns_per_param": _spread(times),
                "ratio": _spread(ratios)}

    row = next(iter(rows.values()))
    return {"model": model, "width": arguments.width, "tensors": len(subject.parameters),
            "params": subject.params, "adapter": row["adapter"], "timing": row["timing"],
            "base": base, "other_processes": median(r["other_processes"] for r in rounds),
            "rows": [row_of(name) for name in found], "rounds": rounds}


def table(result):
    """The result for one model as text."""
    adapter = result["adapter"]
    lines = [f"{result['model']}, width {result['width']:g}: {result['tensors']} tensors, "
             f"{result['params'] / 1e6:.1f} M parameters; fallline on {adapter['name']}, "
             f"{adapter['driver']}, timed by {result['timing']}; other processes had "
             f"{result['other_processes']:.0%} of the processors",
             f"{'':24}{'rounded':>8}{'state':>7}{'ns/param':>10}{'quartiles':>16}"
             f"{'by ' + result['base']:>20}{'quartiles':>14}"]
    for row in result["rows"]:
        ns, ratio = row["ns_per_param"], row["ratio"]
        state = row["state_bytes_per_param"]
        state = "-" if state is None else f"{state:.2f}"
        lines.append(f"{row['name']:24}{row['rounded']:8.1%}{state:>7}{ns['median']:10.2f}"
                     f"{_range(ns):>16}{ratio['median']:19.2f}x{_range(ratio):>14}")
    return "\n".join(lines)


def _busy_elsewhere():
    """Seconds that processors have worked for others than this process and its children."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def _spread(values):
    q1, _, q3 = quantiles(values, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "q1": q1, "q3": q3}


def _range(spread):
    return f"{spread['q1']:.2f}..{spread['q3']:.2f}"


def _versions(names):
    """The version of each package that takes part; an error that names one that is missing."""
    versions = {"python": platform.python_version()}
    for package in dict.fromkeys(["torch", *(OPTIMIZERS[name][0].split(".")[0] for name in names)]):
        try:
            versions[package] = importlib.import_module(package).__version__
        except ImportError as error:
            raise BenchError(f"{package} cannot be imported ({error}): pip install {package}, or "
                             "name who shall take part with --torch") from error
    return versions


def _choice(allowed, text):
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(allowed)}, with commas; found {name!r}")
    return names


def _count(text):
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {number}")
    return number


def main():
    models = ["one-big", "many-small", "gpt2-small"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=["one-big", "gpt2-small"],
                        type=lambda text: _choice(models, text),
                        help=f"of {', '.join(models)}, with commas; default: one-big,gpt2-small")
    parser.add_argument("--width", default=1.0, type=float, help="of the model, as for fallline")
    parser.add_argument("--states", default=["int8"], type=lambda text: text.split(","),
                        help="fallline's formats of the state, with commas; default: int8")
    parser.add_argument("--torch", default=list(OPTIMIZERS),
                        type=lambda text: _choice(OPTIMIZERS, text),
                        help=f"of {', '.join(OPTIMIZERS)}, with commas; default: all")
    parser.add_argument("--rounds", default=7, type=_count, help="that count; default: 7")
    parser.add_argument("--steps", default=3, type=_count, help="timed in a round; default: 3")
    parser.add_argument("--others", default=1.0, type=float, help="repeat rounds in which other "
                        "processes had more than this share of the processors; default: 1, none")
    parser.add_argument("--threads", default=len(os.sched_getaffinity(0)), type=_count,
                        help="default: all that this process may use")
    parser.add_argument("--fallline", default=BINARY, type=Path, help=f"the binary; {BINARY}")
    parser.add_argument("--json", type=Path, help="write the result here too")
    arguments = parser.parse_args()

    # Read when the libraries are loaded, and by the driver of the binary.
    for variable in ("OMP_NUM_THREADS", "LP_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)
    warnings.filterwarnings("ignore", message=".*_stable_hash_for_caching.*")
    try:
        # A binary that cannot run is found out before PyTorch compiles for a minute.
        for state in arguments.states:
            fallline(arguments, "one-big", state, 1)
        versions = _versions(arguments.torch)
        importlib.import_module("torch").set_num_threads(arguments.threads)
        said = ", ".join(f"{package} {version}" for package, version in versions.items())
        print(f"{arguments.threads} threads, {arguments.rounds} rounds of {arguments.steps} steps; "
              f"{platform.processor() or platform.machine()}; {said}")
        results = []
        for model in arguments.model:
            results.append(measure(arguments, model))
            print("\n" + table(results[-1]), flush=True)
    except BenchError as error:
        sys.exit(f"bench_torch.py: {error}")
    if arguments.json is not None:
        result = {"threads": arguments.threads, "steps": arguments.steps,
                  "rounds": arguments.rounds, "versions": versions, "models": results}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
