"""Train the GPT of `fallline train --model gpt` in PyTorch, and compare the losses of all steps.

Initial weights and batches come from one seed, as the binary draws them: SplitMix64, each weight from a sum of twelve
numbers, then where each sequence begins. So both train the same model on the same characters, PyTorch with
torch.optim.AdamW, torch.nn.utils.clip_grad_norm_ and autograd. The table gives both losses of some steps and how far
they are apart; the command fails if any step's are more than 1 % apart.

    cargo build --release -p fallline-cli
    python tools/compare_gpt.py

It takes torch and numpy. The losses that a test of the binary looks for are written by

    python tools/compare_gpt.py --steps 40 --eval-interval 20 --batch-size 8 --n-layer 2 --n-head 2 --n-embd 32 \\
        --block-size 32 --out crates/cli/tests/cli/gpt_losses.json
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target/release/fallline"
TEXT = ROOT / "crates/cli/data/shakespeare.txt"
SIZES = {
    "steps": 600,
    "eval_interval": 100,
    "batch_size": 12,
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 64,
    "block_size": 64,
}
# What the binary does where nothing else is asked for.
LR, WEIGHT_DECAY, CLIP = 6e-3, 0.1, 1.0


class Random:
    """SplitMix64, as crates/cli/src/train/random.rs has it."""

    GOLDEN = numpy.uint64(0x9E3779B97F4A7C15)

    def __init__(self, seed):
        self.state = numpy.uint64(seed)

    def next(self, count):
        with numpy.errstate(over="ignore"):
            z = self.state + self.GOLDEN * numpy.arange(1, count + 1, dtype=numpy.uint64)
            if count:
                self.state = z[-1]
            z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
            return z ^ (z >> numpy.uint64(31))

    def normal(self, count):
        units = (self.next(12 * count) >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1
        return units.reshape(count, 12).sum(axis=1) / 2

    def below(self, end, count):
        return [int(number) * end >> 64 for number in self.next(count)]


class Block(nn.Module):
    def __init__(self, n_head, n_embd):
        super().__init__()
        self.n_head = n_head
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(n_embd, 3 * n_embd), "c_proj": nn.Linear(n_embd, n_embd)}
        )
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(n_embd, 4 * n_embd), "c_proj": nn.Linear(4 * n_embd, n_embd)}
        )

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.attn["c_attn"](self.ln_1(x)).view(batch, length, 3, self.n_head, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](heads.transpose(1, 2).reshape(batch, length, width))
        inner = functional.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](inner)


class Gpt(nn.Module):
    """Modules in the order in which their weights are drawn."""

    def __init__(self, classes, n_layer, n_head, n_embd, block_size):
        super().__init__()
        self.wte = nn.Embedding(classes, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Block(n_head, n_embd) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, classes, bias=False)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))

    @torch.no_grad()
    def init(self, random):
        for name, param in self.named_parameters():
            if "ln_" in name or name.endswith("bias"):
                param.fill_(float(name.endswith("weight")))
                continue
            residual = name.endswith("c_proj.weight")
            deviation = 0.02 / math.sqrt(2 * len(self.h)) if residual else 0.02
            values = deviation * random.normal(param.numel())
            param.copy_(torch.from_numpy(values.astype(numpy.float32)).view_as(param))

    def groups(self):
        """Weight decay for the weights of linear layers alone."""
        params = list(self.named_parameters())
        decays = {name for name, param in params if param.dim() > 1 and not name.startswith("w")}
        return [
            {"params": [p for n, p in params if n in decays], "weight_decay": WEIGHT_DECAY},
            {"params": [p for n, p in params if n not in decays], "weight_decay": 0.0},
        ]


def rate(step, steps):
    warmup = min(steps // 10, 100)
    if step < warmup:
        return LR * (step + 1) / warmup
    return LR * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def in_torch(sizes, seed):
    text = TEXT.read_text(encoding="utf-8")
    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(c) for c in text])
    length = sizes["block_size"]
    begins = len(text) - len(text) // 10 - length
    random = Random(seed)
    shape = {key: sizes[key] for key in ("n_layer", "n_head", "n_embd", "block_size")}
    model = Gpt(len(characters), **shape)
    model.init(random)
    optimizer = torch.optim.AdamW(model.groups(), lr=LR)
    losses = []
    for step in range(sizes["steps"]):
        starts = random.below(begins, sizes["batch_size"])
        batch = torch.stack([tokens[start : start + length + 1] for start in starts])
        logits = model(batch[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, sizes["steps"])
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_fallline(binary, sizes, seed):
    options = [f"--{key.replace('_', '-')}={value}" for key, value in sizes.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        command = [binary, "train", "--model=gpt", f"--seed={seed}", "--sample=0", f"--json={path}"]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        return json.loads(path.read_text())[0]["losses"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for key, value in SIZES.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=int, default=value, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--binary", type=Path, default=BINARY, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write PyTorch's losses as JSON")
    args = parser.parse_args()
    sizes = {key: getattr(args, key) for key in SIZES}

    expected = in_torch(sizes, args.seed)
    if args.out:
        losses = [round(loss, 6) for loss in expected]
        args.out.write_text(json.dumps({"seed": args.seed, **sizes, "losses": losses}) + "\n")
    found = in_fallline(args.binary, sizes, args.seed)
    apart = [abs(a - b) / b for a, b in zip(found, expected, strict=True)]
    print(f"{'step':>6} {'PyTorch':>10} {'fallline':>10} {'apart':>9}")
    for step in sorted({0, *range(0, len(apart), max(1, len(apart) // 10)), len(apart) - 1}):
        print(f"{step:>6} {expected[step]:>10.5f} {found[step]:>10.5f} {apart[step]:>9.1e}")
    worst = max(range(len(apart)), key=apart.__getitem__)
    print(f"at most {apart[worst]:.1e} apart, in step {worst}; on the average {sum(apart) / len(apart):.1e}")
    return 0 if apart[worst] < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
