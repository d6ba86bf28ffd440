"""Record the learning rates of PyTorch's and transformers' schedules, or compare them with fallline's.

    python tools/record_schedules.py tests/golden/schedules.json
    python tools/record_schedules.py --compare target/debug/fallline

The first writes a table of each case: densely at the beginning and around every corner, sparsely elsewhere. The second
runs `fallline schedule` for each and compares all 10,000 steps, to 1e-12 of the largest base.

A case is the table `[schedule]` of a config, whose kinds and options are PyTorch's, with `base_lrs` and, of schedules
that go by a metric, `metrics`. Where PyTorch or transformers has a defect that fallline does not share, a test of
fallline's holds the right value; such a step is in no case here.

Needs torch 2.15 and transformers 5.24.
"""

import argparse
import csv
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from torch.optim import lr_scheduler, swa_utils
from transformers import optimization

STEPS = 10_000
TOLERANCE = 1e-12

TORCH = {
    "step": lr_scheduler.StepLR,
    "multi_step": lr_scheduler.MultiStepLR,
    "constant": lr_scheduler.ConstantLR,
    "linear": lr_scheduler.LinearLR,
    "exponential": lr_scheduler.ExponentialLR,
    "polynomial": lr_scheduler.PolynomialLR,
    "cosine_annealing": lr_scheduler.CosineAnnealingLR,
    "cosine_annealing_warm_restarts": lr_scheduler.CosineAnnealingWarmRestarts,
    "one_cycle": lr_scheduler.OneCycleLR,
    "cyclic": lr_scheduler.CyclicLR,
    "reduce_on_plateau": lr_scheduler.ReduceLROnPlateau,
    "swa": swa_utils.SWALR,
    "greedy_schedule": optimization.GreedyLR,
}


def make(table, optimizer):
    """The scheduler that a table describes."""
    options = {key: value for key, value in table.items() if key not in ("kind", "schedulers")}
    schedulers = [make(inner, optimizer) for inner in table.get("schedulers", [])]
    match table["kind"]:
        case "sequential":
            return lr_scheduler.SequentialLR(optimizer, schedulers, **options)
        case "chained":
            return lr_scheduler.ChainedScheduler(schedulers, optimizer)
        case kind if kind in TORCH:
            return TORCH[kind](optimizer, **options)
        case kind:
            return getattr(optimization, f"get_{kind}")(optimizer, **options)


def run(case):
    """The rates of all groups, and their momenta, in each step."""
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in case["base_lrs"]
    ]
    optimizer = torch.optim.SGD(groups, lr=case["base_lrs"][0], momentum=0.9)
    scheduler = make(case["schedule"], optimizer)
    metrics = case.get("metrics")
    lrs, momenta = [], []
    for t in range(len(metrics) if metrics else case.get("steps", STEPS)):
        lrs.append([float(group["lr"]) for group in optimizer.param_groups])
        momenta.append([float(group["momentum"]) for group in optimizer.param_groups])
        scheduler.step(metrics[t]) if metrics else scheduler.step()
    moves = any(row != [0.9] * len(row) for row in momenta)
    return lrs, momenta if moves else None


def case(name, schedule, base_lrs=(0.1, 0.003), corners=(), **more):
    return {
        "name": name,
        "schedule": schedule,
        "base_lrs": list(base_lrs),
        "corners": list(corners),
        **more,
    }


def cases():
    yield case("step", {"kind": "step", "step_size": 700, "gamma": 0.5}, corners=[700, 1400, 7000])
    yield case("step_default", {"kind": "step", "step_size": 3000}, corners=[3000, 6000])
    milestones = {"kind": "multi_step", "milestones": [900, 30, 900, 5000], "gamma": 0.3}
    yield case("multi_step", milestones, corners=[30, 900, 5000])
    yield case("constant", {"kind": "constant", "factor": 0.25, "total_iters": 40}, corners=[40])
    yield case("linear", {"kind": "linear"}, corners=[5])
    down = {"kind": "linear", "start_factor": 1.0, "end_factor": 0.01, "total_iters": 8000}
    yield case("linear_down", down, corners=[4000, 8000])
    yield case("exponential", {"kind": "exponential", "gamma": 0.999})
    yield case("exponential_up", {"kind": "exponential", "gamma": 1.0001}, base_lrs=[1e-4])
    yield case("polynomial", {"kind": "polynomial", "total_iters": 600, "power": 2.5}, corners=[600])
    yield case("polynomial_default", {"kind": "polynomial"}, corners=[5])
    cosine = {"kind": "cosine_annealing", "T_max": 1000, "eta_min": 1e-4}
    yield case("cosine_annealing", cosine, corners=[500, 1000, 2000, 3000])
    # torch's recursion drifts: after 10,000 steps, 714 periods, it is 3e-12 off its own closed form.
    odd = {"kind": "cosine_annealing", "T_max": 7}
    yield case("cosine_annealing_odd", odd, corners=[7, 14, 21], steps=2000)
    restarts = {"kind": "cosine_annealing_warm_restarts", "T_0": 10}
    yield case("warm_restarts", restarts, corners=[10, 20, 5000])
    tripled = {**restarts, "T_mult": 3, "eta_min": 1e-5}
    yield case("warm_restarts_3", tripled, corners=[10, 40, 130, 400, 1210, 3640])
    cycle = {"kind": "one_cycle", "max_lr": [0.5, 0.02], "total_steps": 10000}
    yield case("one_cycle", cycle, corners=[2999, 9998])
    three = {**cycle, "three_phase": True, "anneal_strategy": "linear", "pct_start": 0.2}
    more = {"div_factor": 10.0, "final_div_factor": 100.0, "base_momentum": [0.8, 0.7]}
    yield case("one_cycle_three", {**three, **more}, corners=[1999, 3998, 9998])
    by_epochs = {"kind": "one_cycle", "max_lr": 0.5, "epochs": 100, "steps_per_epoch": 100}
    still = {"cycle_momentum": False, "pct_start": 0.00005, "three_phase": True}
    yield case("one_cycle_epochs", {**by_epochs, **still}, corners=[9998])
    cyclic = {"kind": "cyclic", "base_lr": 1e-3, "max_lr": 0.1, "step_size_up": 300}
    yield case("cyclic", cyclic, corners=[300, 600, 900, 6000])
    halved = {**cyclic, "mode": "triangular2", "step_size_down": 1000, "base_lr": [0.001, 0.002]}
    yield case("cyclic_triangular2", halved, corners=[300, 1300, 2600])
    ranged = {**cyclic, "mode": "exp_range", "gamma": 0.9995, "max_momentum": [0.95, 0.99]}
    yield case("cyclic_exp_range", ranged, corners=[300, 600])
    yield case("swa", {"kind": "swa", "swa_lr": [0.05, 0.01], "anneal_epochs": 100}, corners=[50, 100])
    swa = {"kind": "swa", "swa_lr": 0.05, "anneal_epochs": 20, "anneal_strategy": "linear"}
    yield case("swa_linear", swa, corners=[20])
    yield case("swa_at_once", {"kind": "swa", "swa_lr": 0.05, "anneal_epochs": 0})

    warm_up = {"kind": "linear", "start_factor": 0.01, "total_iters": 100}
    cosine = {"kind": "cosine_annealing", "T_max": 5000, "eta_min": 1e-4}
    sequence = {"kind": "sequential", "schedulers": [warm_up, cosine, swa], "milestones": [100, 4000]}
    yield case("sequential", sequence, corners=[100, 4000, 4020])
    steps = {"kind": "step", "step_size": 50}
    parts = [steps, restarts, {"kind": "multi_step", "milestones": [3]}, {"kind": "constant"}]
    sequence = {"kind": "sequential", "schedulers": parts, "milestones": [60, 95, 2000]}
    yield case("sequential_four", sequence, corners=[50, 60, 70, 95, 98, 2000, 2005])
    decay = {"kind": "exponential", "gamma": 0.9995}
    factors = [{"kind": "constant", "factor": 0.1, "total_iters": 30}, decay, steps | {"step_size": 2000}]
    yield case("chained", {"kind": "chained", "schedulers": factors}, corners=[30, 2000])
    waves = [cosine | {"T_max": 700, "eta_min": 0.0}, decay, warm_up]
    yield case("chained_cosine", {"kind": "chained", "schedulers": waves}, corners=[100, 700, 1400, 2100])
    lifted = {"kind": "chained", "schedulers": [cosine | {"T_max": 700}, decay]}
    yield case("chained_eta_min", lifted, corners=[350], steps=701)
    both = [{"kind": "swa", "swa_lr": 0.02, "anneal_epochs": 200}, {"kind": "polynomial", "total_iters": 900}]
    yield case("chained_swa", {"kind": "chained", "schedulers": both}, corners=[200, 900])
    set_anew = [decay, restarts]
    yield case("chained_restarts", {"kind": "chained", "schedulers": set_anew}, corners=[10])
    nested = [sequence | {"schedulers": [warm_up, cosine], "milestones": [100]}, decay]
    # From T_max on torch's recursion magnifies what the decay has changed: the rates become negative.
    nested = {"kind": "chained", "schedulers": nested}
    yield case("chained_sequential", nested, corners=[100], steps=5100)

    times = {"num_warmup_steps": 500, "num_training_steps": 10000}
    half = [500, 5250]
    yield case("constant_schedule", {"kind": "constant_schedule"})
    warm = {"kind": "constant_schedule_with_warmup", "num_warmup_steps": 500}
    yield case("constant_with_warmup", warm, corners=[500])
    yield case("linear_with_warmup", {"kind": "linear_schedule_with_warmup", **times}, corners=half)
    short = {"num_warmup_steps": 500, "num_training_steps": 8000}
    yield case("linear_short", {"kind": "linear_schedule_with_warmup", **short}, corners=[500, 8000])
    cosine = {"kind": "cosine_schedule_with_warmup", **times}
    yield case("cosine_with_warmup", cosine, corners=half)
    yield case("cosine_cycles", {**cosine, "num_cycles": 1.75}, corners=half)
    no_warm_up = {"kind": "cosine_schedule_with_warmup", "num_warmup_steps": 0, "num_training_steps": 10000}
    yield case("cosine_without_warmup", no_warm_up)
    hard = {"kind": "cosine_with_hard_restarts_schedule_with_warmup", **short, "num_cycles": 4}
    yield case("hard_restarts", hard, corners=[500, 2375, 4250, 6125, 8000])
    decay = {"kind": "polynomial_decay_schedule_with_warmup", **short}
    yield case("polynomial_decay", decay, base_lrs=[0.1], corners=[500, 8000])
    yield case("polynomial_decay_2", {**decay, "lr_end": 0.001, "power": 2.0}, base_lrs=[0.1], corners=[500, 8000])
    yield case("inverse_sqrt", {"kind": "inverse_sqrt_schedule", "num_warmup_steps": 500}, corners=[500])
    yield case("inverse_sqrt_default", {"kind": "inverse_sqrt_schedule", "num_warmup_steps": 0})
    scaled = {"kind": "inverse_sqrt_schedule", "num_warmup_steps": 500, "timescale": 2000}
    yield case("inverse_sqrt_timescale", scaled, corners=[500])
    least = {"kind": "cosine_with_min_lr_schedule_with_warmup", **times}
    yield case("min_lr", {**least, "min_lr": 0.005}, base_lrs=[0.1], corners=half)
    yield case("min_lr_rate", {**least, "min_lr_rate": 0.1, "num_cycles": 1.5}, corners=half)
    least = {"kind": "cosine_with_min_lr_schedule_with_warmup_lr_rate", **times}
    yield case("warmup_min_lr", {**least, "min_lr": 0.005}, base_lrs=[0.1], corners=half)
    rates = {"min_lr_rate": 0.1, "warmup_lr_rate": 0.02}
    yield case("warmup_min_lr_rate", {**least, **rates}, corners=half)
    trapezoid = {"kind": "wsd_schedule", "num_warmup_steps": 300, "num_decay_steps": 2000}
    corners = [150, 300, 5000, 6000, 7000]
    for up in ("linear", "cosine", "1-sqrt"):
        for down in ("linear", "cosine", "1-sqrt"):
            shapes = {"warmup_type": up, "decay_type": down, "num_training_steps": 7000}
            name = f"wsd_{up}_{down}"
            yield case(name, {**trapezoid, **shapes, "min_lr_ratio": 0.05}, base_lrs=[0.1], corners=corners)
    stable = {"num_stable_steps": 4700, "num_cycles": 1.5}
    yield case("wsd_stable", {**trapezoid, **stable}, corners=corners)

    random.seed(1)
    falling = [round(4 * math.exp(-t / 60) + random.uniform(0.5, 0.8), 3) for t in range(300)]
    plateau = {"kind": "reduce_on_plateau"}
    yield case("plateau", plateau, metrics=falling)
    picky = {**plateau, "threshold": 0.02, "threshold_mode": "abs", "patience": 3, "cooldown": 5, "factor": 0.5}
    yield case("plateau_abs", {**picky, "min_lr": [0.01, 0.0001]}, metrics=falling)
    rising = [round(1 - m / 10, 4) for m in falling]
    yield case("plateau_max", {**picky, "mode": "max", "threshold_mode": "rel", "eps": 1e-4}, metrics=rising)
    greedy = {"kind": "greedy_schedule", "patience": 2, "min_lr": 1e-4}
    yield case("greedy", greedy, metrics=falling)
    smooth = {**greedy, "smooth": True, "window_size": 7, "cooldown": 2, "warmup": 3, "factor": 0.8}
    yield case("greedy_smooth", {**smooth, "max_lr": [0.3, 0.004]}, metrics=falling)
    noise = [round(random.uniform(1, 2), 3) for _ in range(400)]
    resets = {"kind": "greedy_schedule", "patience": 1, "factor": 0.3, "min_lr": [0.01, 0.001], "reset_start": 3}
    yield case("greedy_reset", {**resets, "threshold": 1e-3, "threshold_mode": "rel"}, metrics=noise)
    yield case("greedy_max", {**smooth, "mode": "max"}, metrics=rising)


def sampled(case, steps):
    """The steps that a table holds."""
    if "metrics" in case:
        return range(steps)
    dense = [*range(6), *(t + d for t in case["corners"] for d in (-1, 0, 1))]
    sparse = [round(10 ** (k / 3)) for k in range(3, 12)]
    return sorted({t for t in [*dense, *sparse, steps - 1] if 0 <= t < steps})


def record(path):
    lines = []
    for case in cases():
        lrs, momenta = run(case)
        steps = sampled(case, len(lrs))
        table = {key: case[key] for key in ("name", "schedule", "base_lrs", "metrics") if key in case}
        if "metrics" in case:
            # What changes, and when.
            steps = [t for t in steps if t == 0 or lrs[t] != lrs[t - 1]] + [len(lrs) - 1]
        table |= {"t": list(steps), "lr": [lrs[t] for t in steps]}
        if momenta:
            table["momentum"] = [momenta[t] for t in steps]
        lines.append(json.dumps(table))
    head = {"torch": torch.__version__, "transformers": transformers.__version__}
    text = ",\n".join(lines)
    path.write_text(f'{{"versions": {json.dumps(head)}, "cases": [\n{text}\n]}}\n')
    print(f"{len(lines)} cases, {path.stat().st_size} bytes")


def toml(value):
    """A value as TOML writes it, a table in one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return json.dumps(value)


def columns(path, name):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            yield [float(value) for key, value in row.items() if key.startswith(name)]


def compare(binary):
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        config, table = pathlib.Path(folder, "case.toml"), pathlib.Path(folder, "case.csv")
        for case in cases():
            lrs, momenta = run(case)
            given = {key: case[key] for key in ("base_lrs", "metrics") if key in case}
            schedule = toml(case["schedule"] | given)
            config.write_text(f"schedule = {schedule}\n")
            options = ["--config", config, "--steps", str(len(lrs)), "--csv", table]
            subprocess.run([binary, "schedule", *options], check=True, stdout=subprocess.DEVNULL)
            found, found_momenta = list(columns(table, "lr")), list(columns(table, "momentum"))
            assert len(found) == len(lrs), (case["name"], len(found))
            base = max(map(max, lrs))
            error = distance(found, lrs) / base
            if momenta:
                error = max(error, distance(found_momenta, momenta))
            worst = max(worst, error)
            print(f"{case['name']:28} {len(lrs):6} steps  {error:.1e}{'' if error <= TOLERANCE else '  FAILED'}")
    print(f"worst {worst:.1e} of the base, {TOLERANCE} allowed")
    return worst <= TOLERANCE


def distance(found, expected):
    return max(abs(a - b) for rows in zip(found, expected) for a, b in zip(*rows, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=pathlib.Path, help="the table to write, or the binary to compare with")
    parser.add_argument("--compare", action="store_true", help="compare all steps with those of the binary")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.compare:
        sys.exit(not compare(args.path))
    record(args.path)


if __name__ == "__main__":
    main()
