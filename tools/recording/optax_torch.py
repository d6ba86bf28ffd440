"""Optimizers of optax as torch.optim.Optimizer: `optax_optimizer(optax.lars)(params, lr=0.1)`.

Every tensor has a state of its own, and so counts its own steps; a step finds in it what others wrote
into `state`. Options bear optax's names, but for learning_rate, which is `lr`. The computation is
jax's, on the CPU.
"""

import inspect

import torch


class Optax(torch.optim.Optimizer):
    """An optimizer that a function of optax makes of a learning rate and options."""

    transformation = None  # the function, which a subclass names

    def __init__(self, params, **options):
        defaults = {name: option.default for name, option
                    in inspect.signature(self.transformation).parameters.items()}
        defaults["lr"] = defaults.pop("learning_rate")
        super().__init__(params, defaults | options)
        self.states = {}

    @torch.no_grad()
    def step(self):
        import jax
        import numpy
        import optax

        for group in self.param_groups:
            options = {name: group[name] for name in self.defaults if name != "lr"}
            optimizer = type(self).transformation(learning_rate=group["lr"], **options)
            for param in group["params"]:
                if param.grad is None:
                    continue
                now = jax.numpy.asarray(param.numpy())
                state = self.states.get(param) or optimizer.init(now)
                state = _with_arrays(state, {name: jax.numpy.asarray(value.numpy())
                                             for name, value in self.state[param].items()})
                grad = jax.numpy.asarray(param.grad.numpy())
                updates, state = optimizer.update(grad, state, now)
                param.copy_(torch.tensor(numpy.array(optax.apply_updates(now, updates))))
                self.states[param] = state
                self.state[param] = {name: torch.tensor(numpy.array(value))
                                     for name, value in _arrays(state) if name != "count"}


def optax_optimizer(function):
    """The class of the optimizer that this function of optax makes."""
    name = f"Optax{function.__name__.capitalize()}"
    return type(name, (Optax,), {"transformation": staticmethod(function)})


def _arrays(state):
    """The arrays in a state of optax, a tree of named tuples, with the names of their fields."""
    if hasattr(state, "_fields"):
        for name, value in zip(state._fields, state):
            if hasattr(value, "dtype"):
                yield name, value
            else:
                yield from _arrays(value)
    elif isinstance(state, tuple):
        for value in state:
            yield from _arrays(value)


def _with_arrays(state, arrays):
    """The state with these arrays in the place of those of their names."""
    if hasattr(state, "_fields"):
        return state._replace(**{
            name: arrays[name] if name in arrays else _with_arrays(value, arrays)
            for name, value in zip(state._fields, state)
        })
    if isinstance(state, tuple):
        return tuple(_with_arrays(value, arrays) for value in state)
    return state
