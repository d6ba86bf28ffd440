"""What records a run of an optimizer: `record_torch.py` tells the format and is its command line.

    recorder.py     listens to the optimizer and writes the trace
    references.py   which optimizer of which package is which rule, and what its options are called
    config.py       the config beside the trace
    extras.py       what goes beside an optimizer: averages, Lookahead, estimates of a Hessian
    optax_torch.py  optimizers of optax in PyTorch's clothes
    tensors.py      copies of tensors, and the file
"""

from .recorder import Recorder
from .tensors import TraceError

__all__ = ["Recorder", "TraceError"]
