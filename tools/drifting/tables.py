"""The results as tables in Markdown, means over the seeds."""

from collections import defaultdict
from statistics import mean

MEANS = ("drift", "loss", "accuracy", "max_abs", "small_part")


def tables(results):
    """Drift; loss and accuracy; what others make of it; how far fallline is from its exact rule."""
    went, found, compared = defaultdict(list), defaultdict(list), []
    for result in results:
        rule = f"`{result['rule']}`"
        went[rule].append(result["mean_path"])
        for row in result["rows"]:
            found[rule, f"`{row['format']}`", row["implementation"]].append(row)
        compared += [[rule, str(result["seed"]), f"{pair['found']}, {pair['against']}",
                      f"{pair['mean_abs']:.1e}", f"{pair['max_abs']:.1e}"]
                     for pair in result["pairs"]]
    means = {key: {what: mean(row[what] for row in rows) for what in MEANS}
             for key, rows in found.items()}
    formats = list(dict.fromkeys(state for _, state, who in means if who == "fallline"))

    def by_format(rule, cell):
        return [cell(means[rule, state, "fallline"]) for state in formats]

    drift = [[rule, f"{mean(paths):.3f}", *by_format(rule, lambda it: _drift(it["drift"]))]
             for rule, paths in went.items()]
    quality = [[rule, *by_format(rule, _quality)] for rule in went]
    has_others = {rule for rule, _, who in means if who not in ("fallline", "reference")}
    others = [[*key, _drift(it["drift"]), f"{it['max_abs']:.2g}", _percent(it["small_part"], 0)]
              for key, it in means.items()
              if key[0] in has_others and key[1] != "`f32`"]
    parts = [(["rule", "went", *formats], drift), (["rule", *formats], quality),
             (["rule", "state", "who", "drift", "largest", "of small"], others),
             (["rule", "seed", "between", "mean", "largest"], compared)]
    return "\n".join(_table(head, rows) for head, rows in parts if rows)


def _drift(part):
    return "0" if part < 1e-5 else _percent(part, 2 if part < 0.01 else 1)


def _quality(row):
    return f"{row['loss']:.3f}, {_percent(row['accuracy'], 1)}"


def _percent(part, digits):
    return f"{100 * part:.{digits}f} %"


def _table(head, rows):
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |\n"
        for line in lines)
