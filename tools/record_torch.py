"""Record a training run of a PyTorch optimizer as a fallline trace.

A trace holds all that it takes to repeat the run without PyTorch, and what PyTorch made of it.
It is one safetensors file. `t` counts the steps of the run from 1, skipped ones too. Tensors are
F32; those with a * may also be F16 or BF16, a gradient of the same dtype in all steps:

    param/<name>                * the parameter before the first step, as the model sees it
    grad/<t>/<name>             * its gradient in step t, before unscaling and clipping; absent if
                                it had none (`grad is None`), as in 10,000 steps in a row at most
    lr/<t>                      shape [1], lr of param_groups[0] in step t, to which the other
                                groups keep their ratio; or shape [groups], lr of each group, the
                                empty ones too; absent if always that of the config
    expect/<name>               * the parameter after the last step, as the model sees it
    expect_master/<name>        the f32 master copy of a 16-bit parameter after the last step
    expect_state/<slot>/<name>  the optimizer's state after the last step, where it holds any, under
                                its names and in its shapes: exp_avg, row_var, ...; but for `step`;
                                with Lookahead `slow`, its slow weights, besides
    expect_average/<name>       the average of the parameter, with `ema_decay` or `swa_start` only
    expect_eval/<name>          schedule-free's parameter to evaluate with, what `eval()` makes of
                                the one in `expect`, with which the next step begins
    expect_d                    shape [1], Prodigy's estimate d after the last step
    hessian/<t>/<name>          Sophia's estimate of the Hessian's diagonal, which enters its
                                average before step t; absent where there is none. Of Sophia-G,
                                b·ĝ²: b is the batch size, ĝ the gradient with labels drawn from
                                the model
    expect_report/<what>        shape [steps], a value for every step:
        scale                   what its gradients were scaled by; with loss scaling only
        skipped                 1 if it was skipped for an overflow, else 0; with loss scaling only
        norm                    the norm of all unscaled gradients before clipping, maybe inf or
                                NaN; with [clip] norm only

The file's metadata tell `format` (fallline-trace), `torch` (its version), `optimizer` (the class)
and `steps`. The optimizer's config lies beside the trace and ends in `.toml`. Options bear
PyTorch's names, or those of the package that has the rule; [optimizer] is param_groups[0], each
[[group]] the next, with its tensors and the options that differ:

    [optimizer]
    rule = "adamw"              # or another that `fallline bench --help` lists
    lr = 0.001
    betas = [0.9, 0.999]
    master = "f32"              # how 16-bit parameters are kept: as they are (none), with a copy
                                # in f32, or with the 16 bits that a BF16 lacks of it (remainder),
                                # or 8 of these (remainder8)
    stochastic_rounding = false # of 16-bit parameters without a master
    seed = 0                    # of the stochastic rounding, that of a state in bf16 too
    state = "f32"               # in what the replay keeps the state, in other groups too: a format
                                # of `fallline bench --state`
    min_state_elems = 4096      # smaller tensors keep their state in f32
    no_decay = true             # no weight decay of biases, norms and what has at most one
                                # dimension; or globs of others besides. The recorder, here and
                                # below, writes out the groups that come of it
    layer_decay = 0.75          # learning rates fall by this factor from the last layer to the first
    layers = ["*embed*", "blocks.#.*"]  # by globs, a # being a number; others are the last layer
    lookahead_k = 5             # both or neither: after so many steps of a tensor Lookahead moves
    lookahead_alpha = 0.5       # its slow weights this far to the parameter, which returns to them
    ema_decay = 0.999           # of the moving average of each parameter, a copy in its first step
    ema_warmup = false          # the decay is at most (1 + n) / (10 + n) where n steps are averaged
    swa_start = 10              # instead: the mean of the parameter after this step and after
    swa_every = 5               # every so many from there on

    [clip]                      # with both, norm first
    norm = 1.0                  # of all gradients; inf only measures it
    value = 0.5

    [loss_scale]                # of torch.amp.GradScaler
    init = 65536.0
    growth = 2.0
    backoff = 0.5
    interval = 2000             # 0: the scale is fixed, and there is no growth, backoff or min
    min = 1.0                   # PyTorch has no such limit; the scale never fell below this one

    [schedule]                  # of learning rates, in the place of lr/<t>, and of momentum or betas:
    kind = "one_cycle"          # kinds and options are those of `fallline schedule --help`
    max_lr = 0.1
    total_steps = 100

    [[group]]
    names = ["bias", "scale"]   # whole names; [] where PyTorch's group has no parameters
    tensors = ["*.bias"]        # globs, beside names or instead; the recorder writes names only
    weight_decay = 0.0
    state = "f32"               # instead of [optimizer]'s; min_state_elems likewise
    clip_norm = 0.1             # of this group's gradients, instead of [clip] norm, which then
                                # limits the other groups alone, but is still the norm of all
    frozen = { from_step = 3, to_step = 9 }  # or true; the recorder leaves gradients out instead

Record a run of your own. Make the recorder before the first step and save after the last one.
Gradients are taken as `step()` finds them; learning rates may take any course, each group its own,
but nothing else may change. (Where OneCycleLR or CyclicLR moves the momentum, give the recorder
the config's `schedule`.)

    recorder = Recorder(optimizer, model.named_parameters())
    ...                         # the training loop, unchanged
    recorder.save("run.safetensors")

Where they are unscaled or clipped before, say so, and have them taken after every backward pass:

    recorder = Recorder(optimizer, model.named_parameters(), scaler=scaler, clip_norm=1.0)
    ...
        scaler.scale(loss).backward()
        recorder.gradients()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

Give the recorder pytorch-optimizer's Lookahead like any optimizer; and if you keep an average of
the parameters, say which and how, where every tensor has a gradient in every step:

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    recorder = Recorder(Lookahead(optimizer, k=5, alpha=0.5), model.named_parameters(),
                        average=average, ema_decay=0.999)

Any optimizer of torch.optim can be recorded, and those of other packages that
`recording/references.py` lists; its config tells the class's options, and where it cannot, an error
says which. Four need a word:

    rule                what the trace has
    adan                `neg_pre_grad` is the last gradient, negated, as sail-sg's Adan keeps it
                        (pytorch-optimizer: previous_grad)
    lars                `momentum_buffer` is optax's trace, -lr·u + momentum·(the one before)
    adam_mini           `m` has the parameter's shape; `blocks` tells what shares a second moment,
                        which Adam-mini finds by the parameter's name: `elements`, each its own;
                        `rows`; `heads`, so many parts of equal size; `tensor`, all
    sophia              `hessian` is b times Sophia-G's, as are the estimates

pytorch-optimizer and optimi count the steps of a group, a replay those of a tensor: the recorder
says so where a tensor that begins late, or pauses, makes a difference.

Parameters that the optimizer itself has in fp16 or bf16 are recorded so, with master = "none".
PyTorch then keeps their state in 16 bits too and rounds after every operation, where a replay
computes a step in f32 and rounds the parameter once. They agree in every bit only where PyTorch has
nothing else to round (SGD without momentum and decay, with a power of two for lr). Else try
`--rtol 0.02 --atol 0.01`; Adam's second moment in bf16 is further off, by 4 % after 100 steps of
random gradients and by 30 % after 1,000, since with β₂ = 0.999 it changes by less than half of its
last bit.

Or let a small network fit a synthetic function, with an optimizer of torch.optim or elsewhere:

    python tools/record_torch.py --optimizer AdamW --options lr=1e-3,betas=0.9:0.99 --steps 100
    python tools/record_torch.py --optimizer lion_pytorch.Lion --options weight_decay=0.1
    python tools/record_torch.py --optimizer optax.lars --options lr=0.1,momentum=0.9
"""

import argparse
import ast
import inspect
from pathlib import Path

import torch

from recording import Recorder, TraceError
from recording.references import optimizer_class

__all__ = ["Recorder", "TraceError"]
HESSIAN_EVERY = 10  # steps, of an optimizer that takes estimates of it


def parse_options(text):
    """Parse `lr=1e-3,betas=0.9:0.99,amsgrad=True` into keyword arguments."""
    options = {}
    for name, _, value in (assignment.partition("=") for assignment in text.split(",")):
        parts = [ast.literal_eval(part) for part in value.split(":")]
        options[name] = parts[0] if len(parts) == 1 else tuple(parts)
    return options


def _optimizer(name, model, options):
    """The optimizer of that name, from torch.optim or `module.Class`."""
    module, _, name = name.rpartition(".")
    kind = optimizer_class(module or "torch.optim", name)
    named = next(iter(inspect.signature(kind).parameters)) == "named_parameters"
    return kind(model.named_parameters() if named else model.parameters(), **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--optimizer", default="AdamW", help="of torch.optim, or module.Class")
    parser.add_argument("--options", default={}, type=parse_options, help="lr=1e-3,amsgrad=True")
    parser.add_argument("--steps", default=100, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--state", default="f32", help="in what a replay shall keep the state")
    parser.add_argument("--out", default="run.safetensors", type=Path, help="the trace to write")
    arguments = parser.parse_args()
    try:
        record(arguments)
    except TraceError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def record(arguments):
    torch.manual_seed(arguments.seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 24), torch.nn.Tanh(), torch.nn.Linear(24, 4))
    optimizer = _optimizer(arguments.optimizer, model, arguments.options)
    recorder = Recorder(optimizer, model.named_parameters(), state=arguments.state)
    if hasattr(optimizer, "train"):  # schedule-free
        optimizer.train()
    sophia = hasattr(optimizer, "update_hessian")
    for step in range(arguments.steps):
        x = torch.randn(32, 8)
        y = torch.stack([x[:, 0] * x[:, 1], x.sum(1), x[:, 2].sin(), x.norm(dim=1)], dim=1)
        if sophia and step % HESSIAN_EVERY == 0:
            optimizer.zero_grad()
            outputs = model(x)
            labels = torch.normal(outputs.detach(), 1.0)  # drawn from the model
            torch.nn.functional.mse_loss(outputs, labels).backward()
            optimizer.update_hessian()
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(**({"bs": len(x)} if sophia else {}))
    config = recorder.save(arguments.out)

    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.out}: {arguments.steps} steps of {type(optimizer).__name__} on {size} "
          f"parameters, last loss {loss.item():.4f}, {arguments.out.stat().st_size} bytes")
    if config:
        print(f"{config}: the optimizer's config")


if __name__ == "__main__":
    main()
