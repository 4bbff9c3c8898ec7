"""Losses and metrics of an epoch: added up on their device, read once.

A `Meter` belongs to one mode and one dataloader. It holds no numbers of the host: a loss costs one addition on its
device per step, metric states are torchmetrics' own. `values()` reads everything once, at the end of the epoch, and
sums over the processes of a distributed run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DistributedSampler
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers.abstract import WrapperMetric

from lighter.errors import MisfitError
from lighter.parts.batches import tensors_in
from lighter.parts.metrics.batch_values import intercept
from lighter.parts.metrics.foreign import ForeignMetric, foreign_in, without_foreign
from lighter.parts.metrics.groups import check_labels
from lighter.parts.metrics.log_names import loss_name, metric_name
from lighter.parts.metrics.synchronization import gathered, measured_everywhere
from lighter.parts.metrics.values import Values, sort_values

log = logging.getLogger("lighter")

Metrics: TypeAlias = Metric | MetricCollection


class LossMean:
    """The mean of a loss over samples: each batch weighs by its number of samples."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weight = 0

    def add(self, loss: Tensor, batch_size: int) -> None:
        """Add a batch's mean loss, a detached scalar."""
        if self.total is None:
            self.total = torch.zeros((), dtype=torch.promote_types(loss.dtype, torch.float32), device=loss.device)
        self.total.add_(loss, alpha=batch_size)
        self.weight += batch_size


class Meter:
    """What is measured between the first and the last step of an epoch.

    Attributes:
        metrics: the metrics of the mode, which the user's step updates; None if there are none.
        is_open: whether an epoch is being measured.
        steps_seen: the number of steps over all epochs, counted by the owner.
        arrays: the values of the epoch that are no single numbers, once `values` was called.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        self.metrics = metrics
        self._batch_values = intercept(metrics) if metrics is not None else None
        self.is_open = self._is_trial = False
        self.steps_seen = 0
        self.arrays: dict[str, Tensor] = {}
        self._losses: dict[str, LossMean] = {}
        self._values: dict[str, Tensor] | None = None
        self._announced_losses = 0
        self._metrics_announced = False
        self._metric_names: list[str] | None = None
        self._epoch_values: dict[str, EpochValue] = {}

    def start(self, *, is_trial: bool = False) -> None:
        """Begin an epoch with nothing in it.

        Args:
            is_trial: whether nobody will see its values: metrics that have none for so few samples may fail.
        """
        self._is_trial = is_trial
        self._losses, self._values, self.arrays = {}, None, {}
        self._announced_losses, self._metrics_announced = 0, self.metrics is None
        if self.metrics is not None and self._batch_values is not None:
            self.metrics.reset()
            self._batch_values.begin_epoch()
        self.is_open = True

    def close(self) -> None:
        """End the epoch; the next step starts another."""
        self.is_open = False

    def begin_step(self, *, wanted: bool) -> None:
        """The step that follows works out its metrics' values only if they are wanted."""
        if self._batch_values is not None:
            self._batch_values.wanted, self._batch_values.latest = wanted, None

    def end_step(self) -> Any:
        """The step is over. Returns its metrics' values, or None if none were worked out."""
        if self._batch_values is None:
            return None
        self._batch_values.wanted = True
        return self._batch_values.latest

    def add(self, losses: Mapping[str, Tensor], batch_size: int) -> None:
        """Add the losses of a step, each the mean over its samples."""
        for name, loss in losses.items():
            mean = self._losses.get(name)
            if mean is None:
                mean = self._losses[name] = LossMean()
            mean.add(loss, batch_size)

    def new_names(self) -> list[str]:
        """The names that this epoch will have values for and that were not returned before in this epoch."""
        names: list[str] = []
        if len(self._losses) > self._announced_losses:
            names += [loss_name(name) for name in list(self._losses)[self._announced_losses :]]
            self._announced_losses = len(self._losses)
        if not self._metrics_announced and self.metrics is not None and _was_updated(self.metrics):
            if self._metric_names is None:
                self._metric_names = output_names(self.metrics)
            names += [metric_name(name) for name in self._metric_names]
            self._metrics_announced = True
        return names

    def unannounced_values(self) -> dict[str, Tensor]:
        """The values of the epoch whose names were not known at its first step; all processes must ask for them.

        None in a process that has announced nothing: one that measured nothing, or whose user logs himself.
        """
        values = self.values()
        if not self._metrics_announced:
            self.arrays = {}
            return {}
        names = {metric_name(name) for name in self._metric_names or ()}
        metrics = {name: value for name, value in values.items() if name.startswith(metric_name(""))}
        return {name: value for name, value in metrics.items() if name not in names}

    def release_foreign(self) -> None:
        """Empty the metrics of other libraries, whose epoch is over: what they hold would be saved in checkpoints."""
        for metric in foreign_in(self.metrics.modules() if self.metrics is not None else ()):
            metric.reset()

    def epoch_value(self, name: str) -> EpochValue:
        """One of this epoch's values, which can be asked for when the epoch is over."""
        if name not in self._epoch_values:
            self._epoch_values[name] = EpochValue(self, name)
        value = self._epoch_values[name]
        value.update()
        return value

    @property
    def epoch_values(self) -> Mapping[str, EpochValue]:
        """Those that were asked for."""
        return self._epoch_values

    def state_dict(self) -> dict[str, Any]:
        """What the epoch has measured so far, but for the metrics' own states."""
        return {
            "losses": {name: (mean.total, mean.weight) for name, mean in self._losses.items()},
            "announced_losses": self._announced_losses,
            "metrics_announced": self._metrics_announced,
            "metric_names": self._metric_names,
            "epoch_values": list(self._epoch_values),
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on measuring an epoch that was begun, before the metrics' own states are loaded."""
        self.start()
        for name, (total, weight) in state["losses"].items():
            mean = self._losses[name] = LossMean()
            mean.total, mean.weight = None if total is None else total.to(device), weight
        self._announced_losses, self._metrics_announced = state["announced_losses"], state["metrics_announced"]
        self._metric_names = state["metric_names"]
        for name in state["epoch_values"]:
            self.epoch_value(name)

    def values(self) -> dict[str, Tensor]:
        """The values of the epoch: worked out when first asked for, then kept. All processes must ask for them."""
        if self._values is None:
            updated = self.metrics is not None and _was_updated(self.metrics)
            everywhere = measured_everywhere(self._losses, self.metrics, updated)
            self._values = {loss_name(name): value for name, value in everywhere.means.items()}
            if everywhere.updated and self.metrics is not None:
                with gathered(self.metrics, everywhere.sums):
                    self._values |= self._metric_values(self.metrics)
            elif self._metrics_announced and self.metrics is not None:
                rank_zero_warn(
                    "the metrics were reset before the epoch's end and are not logged; they are reset for you"
                )
        return self._values

    def _metric_values(self, metrics: Metrics) -> dict[str, Tensor]:
        try:
            computed = values_of(metrics, metrics.compute())
        except Exception as error:  # of any metric
            if not self._is_trial or isinstance(error, MisfitError):
                raise
            tell_of_no_value(metrics, error)
            return {}
        self.arrays = computed.arrays
        return {metric_name(name): value for name, value in computed.numbers.items()}


def tell_of_no_value(metric: Any, error: Exception) -> None:
    """Say that something that measures has no value in the sanity check, which ends no fit: it has few samples."""
    log.warning(
        "in the sanity check, %s has no value (%s: %s); a whole validation has more samples",
        type(metric).__name__, type(error).__name__, error,
    )  # fmt: skip


def values_of(metrics: Metrics, computed: Any) -> Values:
    """Sort computed values by name: the keys of a collection, the class name of a single metric.

    Raises:
        MisfitError: a value is neither numbers nor arrays.
    """
    return sort_values(type(metrics).__name__, computed)


def output_names(metrics: Metrics) -> list[str]:
    """The names of numbers that metrics will compute. They are asked once, after an update.

    Those of other libraries are not: what they are called is known when the epoch is over.

    Raises:
        MisfitError: a value is none, which is told at the first step rather than at the epoch's end.
    """
    members = dict(metrics.items(keep_base=False, copy_state=False)) if isinstance(metrics, MetricCollection) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with without_foreign(metrics.modules()):
                fresh = metrics.clone()
            for metric in fresh.modules():  # this process alone: the others may have nothing to compute yet
                if isinstance(metric, Metric):
                    metric.distributed_available_fn = _alone
            computed = fresh.compute()
            check_labels(fresh)
    except MisfitError:
        raise
    except Exception:  # noqa: BLE001 - a metric that needs more samples: it will be a single number
        if members is None:
            return [type(metrics).__name__]
        return [name for name, member in members.items() if not isinstance(member, ForeignMetric)]
    return [*values_of(metrics, computed).numbers]


def _alone() -> bool:
    return False


def _was_updated(metrics: Metrics) -> bool:
    """Whether metrics have anything to compute. torchmetrics' wrappers do not say, and are taken to."""
    members = metrics.values(copy_state=False) if isinstance(metrics, MetricCollection) else [metrics]
    return any(isinstance(metric, WrapperMetric) or metric.update_called for metric in members)


class EpochValue(Metric):
    """A value of an epoch as a torchmetrics metric, which is what Lightning asks for at the end of an epoch.

    Lightning's `log` takes it once per epoch. Lightning computes it when the epoch is over, before any callback's
    end-of-epoch hook, and resets it when the next begins.

    Args:
        meter: what measures the epoch.
        name: one of its values; a name that it has no value for computes None, which Lightning leaves out.
    """

    full_state_update = False

    def __init__(self, meter: Meter, name: str) -> None:
        super().__init__(sync_on_compute=False)
        self.meter, self.name = meter, name

    def update(self) -> None:
        """Nothing: the steps fill the meter."""

    def compute(self) -> Tensor | None:
        """The value of the epoch."""
        return self.meter.values().get(self.name)

    def reset(self) -> None:
        """The epoch is over."""
        super().reset()
        self.meter.close()


def samples_in(batch: Any) -> int | None:
    """The number of samples in a batch, as Lightning counts: the first dimension of its first tensor, if it has one."""
    first = batch[0] if type(batch) in (list, tuple) and batch else batch
    tensor = first if type(first) is Tensor else _first_tensor(batch)
    if tensor is None:
        return None
    return tensor.size(0) if tensor.ndim else 1


def sizes_that_differ(batch: Any) -> dict[str, int]:
    """The first tensor of a batch and the first whose first dimension is another, by name; empty if there is none."""
    named, size = list(tensors_in(batch)), samples_in(batch)
    others = ((name, tensor.size(0)) for name, tensor in named[1:] if tensor.ndim)
    other = next((entry for entry in others if entry[1] != size), None)
    return {} if other is None or size is None else {named[0][0]: size, other[0]: other[1]}


def _first_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch
    if not isinstance(batch, (list, tuple)):  # asked first, as it is most batches' type and quickly told
        if isinstance(batch, Mapping):
            batch = batch.values()
        elif is_dataclass(batch):
            batch = [getattr(batch, field.name) for field in fields(batch)]
        else:
            return None
    for item in batch:
        found = _first_tensor(item)
        if found is not None:
            return found
    return None


def warn_of_repeats(loaders: Any, index: int, processes: int) -> None:
    """Say so where a distributed sampler repeats samples to even out the shares: the epoch counts them twice."""
    sampler = getattr(tree_leaves(loaders)[index], "sampler", None)
    if not isinstance(sampler, DistributedSampler):
        return
    samples = len(sampler.dataset)  # type: ignore[arg-type]
    repeated = sampler.total_size - samples
    if repeated > 0:
        rank_zero_warn(
            f"{samples} samples on {processes} processes: {repeated} of them counted twice, so that all have the same"
            " number. For exact values, evaluate on one process (trainer::devices=1)."
        )
