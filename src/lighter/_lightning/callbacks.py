"""Lightning's callbacks, by classes of both of its packages."""

from __future__ import annotations

from pytorch_lightning import Callback
from torch.optim.swa_utils import AveragedModel

from lighter._lightning.versions import IS_TESTED

# Ends of module names: `lightning` and `pytorch_lightning` each have the class, and `isinstance` knows one of them.
AVERAGES = ".callbacks.weight_averaging"
SEARCHES = (".callbacks.lr_finder", ".callbacks.batch_size_finder")


def is_search(callback: Callback) -> bool:
    """Return whether a callback searches for a learning rate or a batch size."""
    return any(base.__module__.endswith(SEARCHES) for base in type(callback).__mro__)


def average_before_start(callback: Callback) -> AveragedModel | None:
    """Return the average of a `WeightAveraging` that has not begun to average; None otherwise."""
    if not IS_TESTED or not any(base.__module__.endswith(AVERAGES) for base in type(callback).__mro__):
        return None
    # private, and None until the setup of a fit
    average: AveragedModel | None = getattr(callback, "_average_model", None)
    return average if average is not None and not int(average.n_averaged) else None
