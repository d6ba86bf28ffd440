"""What a recorder knows of what goes beside an optimizer."""

import torch

from .tensors import TraceError, copied


class Lookahead:
    """pytorch-optimizer's, around the optimizer."""

    def __init__(self, lookahead):
        self.lookahead = lookahead
        if lookahead.pullback_momentum != "none":
            raise TraceError("Lookahead must leave the momentum alone: pullback_momentum='none'")

    @staticmethod
    def around(optimizer):
        """That which is around the optimizer, or None, and the optimizer within."""
        kind = type(optimizer)
        if kind.__name__ == "Lookahead" and kind.__module__.startswith("pytorch_optimizer."):
            return Lookahead(optimizer), optimizer.optimizer
        return None, optimizer

    def check_step(self, name, own, group):
        """It counts the steps of a group, and a replay those of a tensor, of which `own` is one."""
        k = self.lookahead.k
        if (own % k == 0) != (group["counter"] + 1 >= k):
            raise TraceError(f"{name} was without a gradient: in its step {own} Lookahead "
                             f"and a replay, which goes by {k} steps of a tensor, part")

    def slots(self, parameter):
        return {"slow": self.lookahead.state[parameter]["slow_params"]}

    def options(self):
        return {"lookahead_k": self.lookahead.k, "lookahead_alpha": float(self.lookahead.alpha)}


class Average:
    """An AveragedModel, and what its function averages by, which it does not tell."""

    def __init__(self, average, ema_decay, ema_warmup, swa_start, swa_every):
        told = [name for name, value in (("ema_decay", ema_decay), ("swa_start", swa_start))
                if value is not None]
        if len(told) != (average is not None):
            raise TraceError("average takes either ema_decay or swa_start, which go with nothing "
                             f"else; told {' and '.join(told) or 'neither'}")
        if ema_warmup and ema_decay is None:
            raise TraceError("ema_warmup goes with ema_decay")
        self.average = average
        self.start, self.every = swa_start or 1, swa_every
        self.options = {}
        if ema_decay is not None:
            self.options = {"ema_decay": float(ema_decay)} | ({"ema_warmup": True} if ema_warmup
                                                              else {})
        if swa_start is not None:
            self.options = {"swa_start": swa_start, "swa_every": swa_every}

    def tensors(self, taken, own_steps):
        """What `expect_average` holds after so many steps, so many of them of each tensor."""
        if self.average is None:
            return {}
        averaged = max(0, (taken - self.start) // self.every + 1)
        if self.average.n_averaged != averaged:
            raise TraceError(f"average was updated {int(self.average.n_averaged)} times in {taken} "
                             f"steps, and not {averaged} times: update it after every one"
                             + (", by swa_start and swa_every" if "swa_start" in self.options
                                else ""))
        for name, own in own_steps.items():
            if own != taken:
                raise TraceError(f"{name} made {own} of {taken} steps: without a gradient PyTorch "
                                 "goes on to average it, and a replay does not")
        if not averaged:
            return {}
        return {f"expect_average/{name}": copied(value, f"average of {name}")
                for name, value in self.average.module.named_parameters() if name in own_steps}


class Estimates:
    """Estimates of the Hessian's diagonal, which an optimizer takes from gradients, or the caller.

    Sophia-G keeps averages of ĝ², ĝ being the gradient with labels drawn from the model, and
    multiplies by the batch size in the step. A trace has the product, b·ĝ², as the estimate.
    """

    def __init__(self, recorder, method):
        self.recorder, self.method = recorder, getattr(recorder.optimizer, method)
        self.values = {}  # by step and name
        self.batch_size = None
        setattr(recorder.optimizer, method, self._update)

    def _update(self):
        self.take({name: parameter.grad.square() for parameter, name in self.recorder.parameters()
                   if parameter.grad is not None})
        self.method()

    def take(self, values):
        """Take estimates, by name, from which the coming step is made."""
        step = self.recorder.steps + (not self.recorder.taken)
        for name, value in values.items():
            if (step, name) in self.values:
                raise TraceError(f"{name} has two estimates of the Hessian before step {step}: a "
                                 "trace has one")
            self.values[step, name] = copied(value, f"the estimate for {name}")

    def check_step(self, kwargs):
        """Take the batch size from the arguments of `step()`, which shall have no others."""
        size = kwargs.pop("bs", 5120)
        if self.batch_size not in (None, size):
            raise TraceError(f"bs is {size} in step {self.recorder.steps + 1}, and was "
                             f"{self.batch_size}: a trace has one")
        self.batch_size = size

    def tensors(self):
        return {f"hessian/{step}/{name}": value * self.batch_size
                for (step, name), value in self.values.items()}

    def slots(self, slots):
        """The state, in the trace's scale."""
        return {"hessian": slots["hessian"] * self.batch_size} if "hessian" in slots else {}


def evaluation_points(optimizer, parameters):
    """What a schedule-free optimizer would evaluate with, by name; it is left as it is."""
    if not all(group["train_mode"] for group in optimizer.param_groups):
        raise TraceError("the optimizer is in eval mode: save before eval(), or after train()")
    parameters = list(parameters)
    kept = [parameter.detach().clone() for parameter, _ in parameters]
    optimizer.eval()
    points = {name: copied(parameter, name) for parameter, name in parameters}
    with torch.no_grad():
        for (parameter, _), value in zip(parameters, kept):
            parameter.copy_(value)
    for group in optimizer.param_groups:
        group["train_mode"] = True
    return points
