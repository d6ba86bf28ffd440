"""The problem: a small network and 1,797 handwritten digits."""

from pathlib import Path

import numpy
import torch
from torch.nn.functional import cross_entropy

DIGITS = Path(__file__).resolve().parents[2] / "crates/cli/data/digits.csv"
TRAIN_LEN = 1437  # of the images; the others are to test
BLACK = 16.0
# Both weights are large enough to be rounded, and whole blocks of 256.
HIDDEN = 512


class Digits:
    """The images, shuffled: those to train with, and those to test with."""

    def __init__(self, generator):
        table = torch.from_numpy(numpy.loadtxt(DIGITS, delimiter=",", dtype=numpy.int64))
        table = table[torch.randperm(len(table), generator=generator)]
        pixels, labels = table[:, :-1] / BLACK, table[:, -1]
        self.train = pixels[:TRAIN_LEN], labels[:TRAIN_LEN]
        self.unseen = pixels[TRAIN_LEN:], labels[TRAIN_LEN:]

    @torch.no_grad()
    def test(self, model, parameters):
        """The network's loss and accuracy with these parameters, on images that it has not seen."""
        pixels, labels = self.unseen
        output = torch.func.functional_call(model, parameters, pixels)
        return {"loss": cross_entropy(output, labels).item(),
                "accuracy": (output.argmax(1) == labels).double().mean().item()}


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(64, HIDDEN), torch.nn.GELU(), torch.nn.Linear(HIDDEN, 10))
