"""Measure how far rounded optimizer states lead from f32, with the same gradients.

A small network learns handwritten digits with the reference implementation of a rule in f32, and
its gradients are recorded (see record_torch.py): each rule is fed what it meets on its own way.
Then `fallline replay` gets exactly these, wherever the parameters have got to by then, with its
state in f32 and in each format, so that nothing but the rounding of the state tells one result
from another.

    went    the mean distance of the reference's last parameters from the first ones
    drift   the mean distance of the parameters from those with f32 state, as a part of it; of f32
            itself, from the reference's

Loss and accuracy are the network's with these parameters, on the images that it has not seen; a
schedule-free rule's are those with which it is evaluated. Tensors under 4096 elements keep their
state in f32 everywhere, and distances leave them out.

The rules are those that `fallline info --rules` lists, with the options that it tells: those of
`fallline train`, at a constant learning rate. Batches are drawn, but for Rprop, which gets all
images in each step.

--slots looks into eight bits with the reference itself, whose moments are rounded after every step
to the nearest code, found in f64: all of them (`exact`), which should be where fallline is, and
each alone, which tells where drift comes from. `of small` is the part of drift in elements whose
squared gradients' mean is under 1e-6 of the largest in their block. --torchao adds torchao's
AdamW8bit, AdamW4bit and AdamWFp8, compiled as they compile themselves, which takes a minute, and

    exact, as torchao             torch's AdamW with moments rounded by torchao's rule
    exact, as torchao but v > 0   by torchao's, but second moments above 0 never become 0

Both rules share bitsandbytes' code books, blocks of 256 elements, and an update from the moments
before they are rounded. With fallline's, what lies in the middle goes to the code of the larger
magnitude, a negative value never becomes 0, and neither does a second moment above 0; with
torchao's, it goes to the larger code, and nothing keeps a value from becoming 0. bitsandbytes is
not here: on the CPU it looks codes up in a table that need not give the nearest.

    cargo build --release -p fallline-cli
    python tools/drift.py                        # all rules and formats, in ten minutes
    python tools/drift.py --rules lion,rmsprop --formats int8 --seeds 3 --slots --json drift.json
    python tools/drift.py --rules adamw --options lr=1e-3,weight_decay=0.01 --torchao

It takes torch, numpy, safetensors and the packages of the rules (tests/golden/requirements.txt);
torchao for --torchao. Equal seeds give equal results on one machine.
"""

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from drifting.binary import Binary, DriftError
from drifting.measure import measure
from drifting.tables import tables
from record_torch import TraceError, parse_options

BINARY = Path(__file__).resolve().parents[1] / "target/release/fallline"


def measure_all(arguments, folder):
    """The results, rule by rule and seed by seed."""
    binary = Binary(arguments.fallline, folder)
    rules, formats = binary.rules(), binary.formats()
    names = list(rules) if arguments.rules == ["all"] else arguments.rules
    formats.remove("f32")
    arguments.formats = arguments.formats or formats
    _check("--rules", names, rules)
    _check("--formats", arguments.formats, formats)
    if arguments.options and len(names) > 1:
        raise DriftError("--options are those of one rule")
    results = []
    for name in names:
        for seed in range(arguments.seeds):
            print(f"{name}, seed {seed}", file=sys.stderr)
            results.append(measure(binary, name, rules[name], arguments, seed))
    return results


def _check(option, names, known):
    for name in names:
        if name not in known:
            raise DriftError(f"{option}: must be of {', '.join(known)}; found {name}")


def _names(text):
    return [name.strip() for name in text.split(",")]


def _count(text):
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {number}")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rules", default=["all"], type=_names, help="with commas; default: all")
    parser.add_argument("--formats", type=_names, help="of the state, with commas; default: all")
    parser.add_argument("--options", type=parse_options, help="lr=1e-3,betas=0.9:0.99, of one "
                        "rule, in its reference's words; default: those of fallline train")
    parser.add_argument("--slots", action="store_true", help="round the reference's moments too, "
                        "all and each alone")
    parser.add_argument("--torchao", action="store_true", help="measure torchao's AdamW too")
    parser.add_argument("--fallline", default=BINARY, type=Path, help=f"the binary; {BINARY}")
    parser.add_argument("--steps", default=500, type=_count)
    parser.add_argument("--batch", default=64, type=_count, help="images in a step")
    parser.add_argument("--seeds", default=1, type=_count, help="how many, from 0 on; tables have "
                        "means over them")
    parser.add_argument("--folder", type=Path, help="where traces (77 MB for 500 steps) and "
                        "the last parameters stay; default: nowhere")
    parser.add_argument("--json", type=Path, help="write the results here too")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore", message=".*_stable_hash_for_caching.*")
    torch.use_deterministic_algorithms(True)
    try:
        if arguments.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                results = measure_all(arguments, Path(folder))
        else:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            results = measure_all(arguments, arguments.folder)
    except (DriftError, TraceError) as error:
        sys.exit(f"drift.py: {error}")
    print(tables(results), end="")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
