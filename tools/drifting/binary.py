"""What is asked of `fallline`."""

import json
import re
import subprocess

from safetensors.torch import load_file

MIN_STATE_ELEMS = 4096


class DriftError(Exception):
    """What is asked for cannot be measured."""


class Binary:
    """The binary, and a folder for what it reads and writes."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def rules(self):
        """The rules by name: the options that `fallline train` gives each, and what it keeps."""
        listed = self.folder / "rules.json"
        ran = self._run("info", "--rules", "--json", listed)
        if ran.returncode != 0:
            raise DriftError(f"{self.path} lists no rules: {_last_line(ran)}")
        rules = json.loads(listed.read_text(encoding="utf-8"))
        return {rule.pop("rule"): rule for rule in rules}

    def formats(self):
        """The formats of the state: those it names when asked for another."""
        config = self.folder / "unknown.toml"
        config.write_text('[optimizer]\nrule = "adamw"\nstate = "?"\n', encoding="utf-8")
        said = self._run("replay", "none", "--config", config).stderr
        formats = re.findall(r'"(\w+)"', said.partition("must be")[2])
        if not formats:
            raise DriftError(f"{self.path} knows no formats of the state: {said.strip()}")
        return formats

    def replay(self, run, state):
        """The parameters, as they are evaluated, after a replay with this format of the state."""
        config, out = self.folder / "replay.toml", self.folder / "replay.safetensors"
        kept = f'[optimizer]\nstate = "{state}"\nmin_state_elems = {MIN_STATE_ELEMS}'
        config.write_text(run.config.replace("[optimizer]", kept, 1), encoding="utf-8")
        # How far it is, is asked here; a NaN fails all the same.
        ran = self._run("replay", run.trace, "--config", config, "--out", out,
                        "--rtol", "1e30", "--atol", "1e30")
        if ran.returncode != 0:
            raise DriftError(f"fallline replay of {run.rule} with state {state} failed and said: "
                             f"{_last_line(ran)}")
        tensors = load_file(out)
        return {name: tensors.get(f"eval/{name}", tensors[f"param/{name}"]) for name in run.names}

    def _run(self, *arguments):
        try:
            return subprocess.run([self.path, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise DriftError(f"cannot run {self.path}: {error.strerror}; build it with `cargo "
                             "build --release -p fallline-cli`, or name it with --fallline"
                             ) from error


def _last_line(ran):
    return ((ran.stderr or ran.stdout).strip().splitlines() or ["nothing"])[-1]
