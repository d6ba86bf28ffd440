"""Optimizers that do what those of packages do, where these cannot do it in a trace's terms."""

import inspect

import torch
from adam_mini import Adam_mini
from sophia_opt import SophiaG


def per_tensor(kind):
    """A class with an optimizer of this kind for every tensor, which so counts its own steps."""

    class PerTensor(torch.optim.Optimizer):
        recorded_as = kind

        def __init__(self, params, **options):
            dummy = torch.nn.Parameter(torch.zeros(1))
            super().__init__(params, kind([dummy], **options).defaults)
            self.inner = {p: kind([p], **options)
                          for group in self.param_groups for p in group["params"]}

        def step(self):
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    inner = self.inner[param]
                    inner.param_groups[0].update(
                        {name: value for name, value in group.items()
                         if name in self.defaults and name != "setup"})
                    inner.step()
                    self.state[param] = inner.state[param]

    PerTensor.__name__ = kind.__name__
    PerTensor.__signature__ = inspect.signature(kind)
    return PerTensor


class Hutchinson(SophiaG):
    """Sophia-G with estimates of the Hessian that may be negative, as Hutchinson's are.

    Their average enters the step as max(average, 0), by which a negative curvature makes a step of
    full size downhill, as the paper has it. Sophia-G, which knows squares only, would go uphill.
    """

    recorded_as = SophiaG

    def __init__(self, params, **options):
        super().__init__(params, **options)
        self.averages = {}
        self.register_step_pre_hook(self._clamp)
        self.register_step_post_hook(self._restore)

    def estimate(self, estimates):
        for group in self.param_groups:
            for param in estimates.keys() & {*group["params"]}:
                state = self.state[param]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(param)
                    state["hessian"] = torch.zeros_like(param)
                beta2 = group["betas"][1]
                state["hessian"].mul_(beta2).add_(estimates[param], alpha=1 - beta2)

    def _clamp(self, *_):
        for state in self.state.values():
            if "hessian" in state:
                state["average"] = state["hessian"]
                state["hessian"] = state["hessian"].clamp(min=0.0)

    def _restore(self, *_):
        for state in self.state.values():
            if "average" in state:
                state["hessian"] = state.pop("average")


def adam_mini(groups, **options):
    """Adam-mini, which knows no groups but makes one of each tensor, by its name."""
    named = [pair for group in groups for pair in group["params"]]
    optimizer = Adam_mini(named, verbose=False, **options)
    own = (group for group in groups for _ in group["params"])
    for made, group in zip(optimizer.param_groups, own):
        made.update({name: value for name, value in group.items() if name != "params"})
    return optimizer


adam_mini.takes_names = True
