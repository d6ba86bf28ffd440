"""A run of a rule's reference in f32, recorded, and repeated with the same gradients."""

import inspect
import io
from contextlib import redirect_stdout

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from recording import Recorder
from recording.config import slots_of
from recording.references import class_of

from .binary import MIN_STATE_ELEMS, DriftError
from .codes import BLOCK
from .digits import TRAIN_LEN, Digits, network

SMALL = 1e-6  # of the largest of a block: of unsigned codes below are 3.25e-7 and 7.75e-7 alone
STEPS_PER_ESTIMATE = 10  # of the Hessian, as `fallline train` has it
NEEDS_ALL_DATA = {"rprop"}  # to whose signs a batch that is drawn is noise
OFF = ("foreach", "fused", "verbose")  # loops for the for-loop implementation, and what is printed


class Run:
    """Where the run began, what it was fed, where f32 led."""

    def __init__(self, rule, options, arguments, seed, folder):
        """`arguments` have steps and the batch."""
        self.rule, self.options, self.steps = rule, _pairs(options), arguments.steps
        self.kind = class_of(rule)
        if self.kind is None:
            raise DriftError(f"recording/references.py knows no optimizer that is {rule}")
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.batch_len = TRAIN_LEN if rule in NEEDS_ALL_DATA else arguments.batch
        self.digits = Digits(generator)
        self.model = network()
        optimizer = self._optimizer(self.kind, self.model.named_parameters())
        recorder = Recorder(optimizer, self.model.named_parameters())
        for step in range(self.steps):
            self._train(optimizer, step, generator)
        self.trace = folder / f"{rule}.safetensors"
        self.config = recorder.save(self.trace).read_text(encoding="utf-8")
        self.tensors = load_file(self.trace)
        self.names = [name for name, _ in self.model.named_parameters()]
        self.initial = {name: self.tensors[f"param/{name}"] for name in self.names}
        self.final = _evaluated(optimizer, self.model.named_parameters())
        self.is_small = self._is_small()

    def _optimizer(self, kind, named, **more):
        known = inspect.signature(kind).parameters
        if "named_parameters" in known:
            # Adam-mini, which finds by names what shares a second moment: rows, as in train.
            parameters = [(f"mlp.{name}", parameter) for name, parameter in named]
        else:
            parameters = [parameter for _, parameter in named]
        more |= {option: False for option in OFF if option in known}
        try:
            with redirect_stdout(io.StringIO()):  # adabelief_pytorch's greeting
                optimizer = kind(parameters, **self.options, **more)
        except (TypeError, ValueError) as error:
            raise DriftError(f"options of {self.rule}: {error}") from error
        if hasattr(optimizer, "train"):  # schedule-free
            optimizer.train()
        return optimizer

    def _train(self, optimizer, step, generator):
        pixels, labels = self.digits.train
        batch = torch.randint(TRAIN_LEN, (self.batch_len,), generator=generator)
        if self.batch_len == TRAIN_LEN:
            batch = torch.arange(TRAIN_LEN)
        if hasattr(optimizer, "update_hessian") and step % STEPS_PER_ESTIMATE == 0:
            optimizer.zero_grad()
            output = self.model(pixels[batch])
            drawn = torch.multinomial(output.detach().softmax(1), 1, generator=generator)
            cross_entropy(output, drawn[:, 0]).backward()
            optimizer.update_hessian()
        optimizer.zero_grad()
        cross_entropy(self.model(pixels[batch]), labels[batch]).backward()
        self._step(optimizer)

    def _step(self, optimizer):
        takes_size = hasattr(optimizer, "update_hessian")
        optimizer.step(**({"bs": self.batch_len} if takes_size else {}))

    def repeat(self, rounding=None, slots=(), kind=None, **more):
        """The parameters after the same gradients, given to the reference or another optimizer.

        rounding   what becomes of these slots after every step: a function of the values and of
                   whether they may be negative
        slots      as `fallline info --rules` lists them
        """
        parameters = {name: torch.nn.Parameter(self.initial[name].clone()) for name in self.names}
        optimizer = self._optimizer(kind or self.kind, parameters.items(), **more)
        for t in range(1, self.steps + 1):
            if f"hessian/{t}/{self.names[0]}" in self.tensors:
                for name, parameter in parameters.items():
                    # The trace has the batch size times the square.
                    square = self.tensors[f"hessian/{t}/{name}"] / self.batch_len
                    parameter.grad = square.sqrt()
                optimizer.update_hessian()
            for name, parameter in parameters.items():
                parameter.grad = self.tensors[f"grad/{t}/{name}"].clone()
            self._step(optimizer)
            for parameter in parameters.values():
                if parameter.numel() < MIN_STATE_ELEMS:
                    continue
                kept = slots_of(optimizer, parameter)
                for slot in slots:
                    value = kept[slot["name"]]
                    value.copy_(rounding(value, slot["signed"]))
        return _evaluated(optimizer, parameters.items())

    def _is_small(self):
        """Of which parameters the mean square of the gradients is small beside that of others in
        their block of 256: their second moments get the lowest codes."""
        squares = {name: torch.zeros_like(value) for name, value in self.initial.items()}
        for t in range(1, self.steps + 1):
            for name, square in squares.items():
                square += self.tensors[f"grad/{t}/{name}"].square()
        blocks = self.flat(squares).view(-1, BLOCK)
        return (blocks < SMALL * blocks.amax(dim=1, keepdim=True)).flatten()

    def flat(self, parameters):
        """All parameters whose state is rounded, in f64."""
        large = [name for name in self.names if self.initial[name].numel() >= MIN_STATE_ELEMS]
        return torch.cat([parameters[name].double().flatten() for name in large])

    def difference(self, found, expected):
        """The mean and the largest distance of parameters from others, and what part of it is that
        of small ones."""
        distance = (self.flat(found) - self.flat(expected)).abs()
        small = distance[self.is_small].sum() / distance.sum()
        return {"mean_abs": distance.mean().item(), "max_abs": distance.max().item(),
                "small_part": small.nan_to_num().item()}

    def test(self, parameters):
        """The network's loss and accuracy with these parameters."""
        return self.digits.test(self.model, parameters)


def _pairs(options):
    """Options as PyTorch takes them: lists are tuples there."""
    return {name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()}


def _evaluated(optimizer, parameters):
    """The parameters, where a schedule-free optimizer evaluates them."""
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return {name: parameter.detach().clone() for name, parameter in parameters}
