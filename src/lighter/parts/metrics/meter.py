"""Losses and metrics of an epoch: accumulated on their device, read once.

A `Meter` belongs to one mode and one dataloader. It holds no numbers of the host: a loss costs one addition on its
device per step, metric states are torchmetrics' own. `values()` reads everything once, at the end of the epoch, and
sums over the processes of a distributed run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers.abstract import WrapperMetric

from lighter.errors import MisfitError
from lighter.parts.metrics.batch_values import BatchValues, Metrics, StepMetrics
from lighter.parts.metrics.foreign import ForeignMetric, foreign_in, without_foreign
from lighter.parts.metrics.groups import check_labels
from lighter.parts.metrics.log_names import loss_name, metric_name
from lighter.parts.metrics.synchronization import gathered, measured_everywhere
from lighter.parts.metrics.values import Values, sort_values

log = logging.getLogger("lighter")


class LossMean:
    """The mean of a loss over samples: each batch weighs by its number of samples."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weight = 0

    def add(self, loss: Tensor, batch_size: int) -> None:
        if self.total is None:
            # a sum of many half-precision losses would lose the small ones
            self.total = torch.zeros((), dtype=torch.promote_types(loss.dtype, torch.float32), device=loss.device)
        self.total.add_(loss, alpha=batch_size)
        self.weight += batch_size


class Meter:
    """Measure an epoch, from its first step to its last."""

    def __init__(self, metrics: Metrics | None) -> None:
        # of the mode, which the user's step updates; None if there are none
        self.metrics = metrics
        self._batch_values = BatchValues(metrics) if metrics is not None else None
        # the metrics as a step sees them
        self.step_metrics = StepMetrics(self._batch_values) if self._batch_values is not None else None
        # whether an epoch is being measured
        self.is_open = self._is_trial = False
        # over all epochs, counted by the owner
        self.steps_seen = 0
        # the values of the epoch that are no single numbers, once `values` was called
        self.arrays: dict[str, Tensor] = {}
        # those of the epoch's values that were announced, by name
        self.epoch_values: dict[str, EpochValue] = {}
        self._losses: dict[str, LossMean] = {}
        self._values: dict[str, Tensor] | None = None
        self._announced_losses = 0
        self._metrics_announced = False
        self._metric_names: list[str] | None = None

    def start(self, *, is_trial: bool = False) -> None:
        """Begin an epoch with nothing in it; in a trial, metrics that have no value for so few samples may fail."""
        self._is_trial = is_trial
        self._losses, self._values, self.arrays = {}, None, {}
        self._announced_losses, self._metrics_announced = 0, self.metrics is None
        if self.metrics is not None and self._batch_values is not None:
            # the user may have updated them between the epochs, in a step called by hand
            self.metrics.reset()
            self._batch_values.begin_epoch()
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def begin_step(self, batch_idx: int | None = None, *, wanted: bool) -> None:
        """Begin the step of a batch, in which the metrics compute their values only if those are wanted."""
        if self._batch_values is not None:
            self._batch_values.wanted, self._batch_values.latest = wanted, None
            self._batch_values.pending.batch = batch_idx

    def end_step(self) -> Any:
        """Return the values that the metrics computed in the step; None if they computed none."""
        return self._batch_values.latest if self._batch_values is not None else None

    def add(self, losses: Mapping[str, Tensor], batch_size: int) -> None:
        for name, loss in losses.items():
            mean = self._losses.get(name)
            if mean is None:
                mean = self._losses[name] = LossMean()
            mean.add(loss, batch_size)

    def new_names(self) -> list[str]:
        """Return the names of this epoch's values that were not returned before in this epoch."""
        names: list[str] = []
        if len(self._losses) > self._announced_losses:
            names += [loss_name(name) for name in list(self._losses)[self._announced_losses :]]
            self._announced_losses = len(self._losses)
        if not self._metrics_announced and self.metrics is not None and self._is_updated(self.metrics):
            if self._metric_names is None:
                self._metric_names = output_names(self.metrics)
            names += [metric_name(name) for name in self._metric_names]
            self._metrics_announced = True
        return names

    def _is_updated(self, metrics: Metrics) -> bool:
        # to ask the metrics would compute the updates that wait
        return (self._batch_values is not None and self._batch_values.pending.is_waiting) or _was_updated(metrics)

    def unannounced_values(self) -> dict[str, Tensor]:
        """Return the values whose names were not known at the epoch's first step; all processes must ask for them."""
        values = self.values()
        # this process measured nothing, or the user logs the values
        if not self._metrics_announced:
            self.arrays = {}
            return {}
        announced = {metric_name(name) for name in self._metric_names or ()}
        return {
            name: value for name, value in values.items() if name.startswith(metric_name("")) and name not in announced
        }

    def release_foreign(self) -> None:
        """Empty the metrics of other libraries after their epoch."""
        # checkpoints would save what they hold
        for metric in foreign_in(self.metrics.modules() if self.metrics is not None else ()):
            metric.reset()

    def announce(self, name: str) -> EpochValue:
        """Return one of this epoch's values, which can be computed when the epoch is over."""
        if name not in self.epoch_values:
            self.epoch_values[name] = EpochValue(self, name)
        value = self.epoch_values[name]
        value.update()
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return what the epoch has measured so far, without the metrics' own states."""
        return {
            "losses": {name: (mean.total, mean.weight) for name, mean in self._losses.items()},
            "announced_losses": self._announced_losses,
            "metrics_announced": self._metrics_announced,
            "metric_names": self._metric_names,
            "epoch_values": list(self.epoch_values),
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue an epoch that was begun."""
        # this resets the metrics, so their states are loaded later
        self.start()
        for name, (total, weight) in state["losses"].items():
            mean = self._losses[name] = LossMean()
            mean.total, mean.weight = None if total is None else total.to(device), weight
        self._announced_losses, self._metrics_announced = state["announced_losses"], state["metrics_announced"]
        self._metric_names = state["metric_names"]
        for name in state["epoch_values"]:
            self.announce(name)

    def values(self) -> dict[str, Tensor]:
        """Return the values of the epoch, computed when first asked for. All processes must ask for them."""
        if self._values is None:
            updated = self.metrics is not None and _was_updated(self.metrics)
            # before anything that only some processes do, as all of them have to take part
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
            # a sanity check has few samples, and a metric may need more; a misfit stays one
            if not self._is_trial or isinstance(error, MisfitError):
                raise
            warn_of_no_value(metrics, error)
            return {}
        self.arrays = computed.arrays
        return {metric_name(name): value for name, value in computed.numbers.items()}


class EpochValue(Metric):
    """A value of an epoch as a torchmetrics metric, which is what Lightning asks for at the end of an epoch.

    Lightning's `log` takes it once per epoch. Lightning computes it when the epoch is over, before any callback's
    end-of-epoch hook, and resets it when the next begins. Without a value it computes None, which Lightning leaves out.
    """

    full_state_update = False

    def __init__(self, meter: Meter, name: str) -> None:
        # the meter has reduced the values of all processes
        super().__init__(sync_on_compute=False)
        self.meter, self.name = meter, name

    def update(self) -> None:
        """Do nothing: the steps fill the meter."""

    def compute(self) -> Tensor | None:
        return self.meter.values().get(self.name)

    def reset(self) -> None:
        super().reset()
        # Lightning resets the values that it has logged when their epoch is over
        self.meter.close()


def warn_of_no_value(metric: object, error: Exception) -> None:
    """Say that a metric has no value in the sanity check, which has few samples and must not end a fit."""
    log.warning(
        "in the sanity check, %s has no value (%s: %s); a whole validation has more samples",
        type(metric).__name__, type(error).__name__, error,
    )  # fmt: skip


def values_of(metrics: Metrics, computed: object) -> Values:
    """Sort computed values by name: the keys of a collection, the class name of a single metric."""
    return sort_values(type(metrics).__name__, computed)


def output_names(metrics: Metrics) -> list[str]:
    """Return the names of the numbers that metrics will compute, asked once, after an update.

    A value that is no number raises at the first step rather than at the epoch's end.
    """
    members = dict(metrics.items(keep_base=False, copy_state=False)) if isinstance(metrics, MetricCollection) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # the names of their values are known only when the epoch is over
            with without_foreign(metrics.modules()):
                fresh = metrics.clone()
            for metric in fresh.modules():
                if isinstance(metric, Metric):  # in this process alone: the others may have nothing to compute yet
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


def _alone() -> bool:  # no lambda, which could not be pickled
    return False


def _was_updated(metrics: Metrics) -> bool:
    """Return whether metrics have anything to compute."""
    members = metrics.values(copy_state=False) if isinstance(metrics, MetricCollection) else [metrics]
    # torchmetrics' wrappers do not say whether they were updated
    return any(isinstance(metric, WrapperMetric) or metric.update_called for metric in members)
