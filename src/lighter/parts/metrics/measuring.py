"""A module's steps are measured: the losses that they return, the metrics that they update; by step and by epoch.

A `BaseModule` holds a `Measuring`, and its steps are wrapped by `measured`, so that nothing of Lightning's hooks is
needed for it.
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lighter._lightning.access import (
    batches_started,
    is_sanity_check,
    log_again,
    logging_step,
    logs_this_step,
    runs_steps_of,
)
from lighter.errors import ModuleTypeError, add_note
from lighter.parts.describe import describe
from lighter.parts.hooks import ExistsIf, is_marked
from lighter.parts.metrics.arrays import keep_arrays
from lighter.parts.metrics.foreign import EXPECTED, as_members, has_methods
from lighter.parts.metrics.groups import collection_of, share_updates
from lighter.parts.metrics.log_names import at_epoch, at_step, loss_name, metric_name, optimizer_values
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.metrics.meter import EpochValue, Meter, Metrics, sizes_that_differ, values_of, warn_of_repeats
from lighter.parts.metrics.state import unchanged
from lighter.parts.metrics.step_output import as_dict, sort_output

STEPS = {"training_step": "train", "validation_step": "val", "test_step": "test"}
_ALL_VALUES = "{mode}/values"  # nothing but a process's part in the sums
_METRICS_EXAMPLE = """For example:
  train_metrics:
    accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}
    f1: {_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}"""


class Measuring:
    """What a module's steps return and do to its metrics: added up for the epoch, and logged.

    Args:
        module: with `train_metrics`, `val_metrics` and `test_metrics`, `count_samples`, and what Lightning gives it.
        loss_weights: the weights of named losses in their total.

    Attributes:
        in_step: whether a step runs: one that it calls itself is not measured again.
        is_repeated: whether an optimizer runs the training step once more on its batch, which was measured.
    """

    def __init__(self, module: Any, loss_weights: LossWeights | None) -> None:
        self._module, self._loss_weights = module, loss_weights
        self._meters: dict[tuple[str, int], Meter] = {}
        self.in_step = self.is_repeated = False
        self._is_size_told = False
        self._may_repeat = False  # whether an optimizer may call its closure several times
        self._batch = 0  # the training batch that was measured last, where it may
        self._has_hook = _has_logging_hook(type(module))
        self._pending: list[Callable[[], None]] = []

    def begin_fit(self) -> None:
        """The optimizers are there, and no batch was trained."""
        optimizers = self._module.trainer.optimizers
        self._may_repeat = not all(map(_calls_closure_once, optimizers))
        self._batch = 0

    @property
    def steps_seen(self) -> dict[str, int]:
        """The steps that were measured, by mode and number of the dataloader: `val/0`. What goes on starts there."""
        return {f"{mode}/{loader}": meter.steps_seen for (mode, loader), meter in self._meters.items()}

    @steps_seen.setter
    def steps_seen(self, steps: Mapping[str, int]) -> None:
        for key, seen in steps.items():
            mode, _, loader = key.partition("/")
            self._meter(mode, int(loader)).steps_seen = seen

    def state_dict(self) -> dict[str, Any]:
        """What the training epoch has measured so far, for a checkpoint in its midst."""
        return {str(loader): meter.state_dict() for loader, meter in self._training_meters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an epoch's measuring."""
        for loader, saved in state.items():
            self._meter("train", int(loader)).load_state_dict(saved, self._module.device)

    def epoch_values(self) -> dict[str, Metric]:
        """What Lightning was given of the training epoch, by the names that it was given."""
        given: dict[str, Metric] = {}
        for _, meter in self._training_meters():
            for name, value in meter.epoch_values.items():
                given[at_epoch("train", name) if name else _ALL_VALUES.format(mode="train")] = value
        return given

    def busy_metrics(self) -> list[Metrics]:
        """The metrics of the training epoch that is being measured."""
        return [meter.metrics for _, meter in self._training_meters() if meter.metrics is not None]

    def _training_meters(self) -> list[tuple[int, Meter]]:
        return [(loader, meter) for (mode, loader), meter in self._meters.items() if mode == "train" and meter.is_open]

    def step(self, mode: str, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a user's step, and measure what it returned and did to the metrics."""
        module = self._module
        trainer = module._trainer  # the public one raises where there is none
        needs_loss = mode == "train" and module.automatic_optimization
        if trainer is None or trainer.barebones or not runs_steps_of(trainer, mode):
            output = step(module, *args, **kwargs)
            return sort_output(output, step.__name__, needs_loss=needs_loss, weights=self._loss_weights).returned
        if self._may_repeat and needs_loss and self._is_next_of_batch(trainer):
            return self._repeat(step, args, kwargs)
        batch_idx = kwargs.get("batch_idx", args[1] if len(args) > 1 else None)
        loader_idx = kwargs.get("dataloader_idx", args[2] if len(args) > 2 else 0)
        meter = self._meters.get((mode, loader_idx))
        if meter is None or not meter.is_open or batch_idx == 0:
            meter = self._begin_epoch(mode, loader_idx)
        wanted = self._is_read(mode, batch_idx)
        meter.begin_step(wanted=wanted)
        try:
            returned = step(module, *args, **kwargs)
        except TypeError as error:
            self._explain_none(error, mode)
            raise
        finally:
            batch_values = meter.end_step()
        output = sort_output(returned, step.__name__, needs_loss=needs_loss, weights=self._loss_weights)
        batch = args[0] if args else kwargs.get("batch")
        if output.losses and not (mode == "train" and _is_skipped(trainer, output.losses)):
            meter.add(output.losses, self._weight(batch))
        if self._has_hook:
            log = partial(self._log, meter, mode, loader_idx, batch, output.losses, batch_values, wanted=wanted)
            self._call_hook(log, as_dict(output), batch_idx)
        else:
            self._log(meter, mode, loader_idx, batch, output.losses, batch_values, wanted=wanted)
        meter.steps_seen += mode == "train" or not is_sanity_check(trainer)
        return output.returned

    def _call_hook(self, log: Callable[[], None], outputs: dict[str, Any], batch_idx: int | None) -> None:
        """Let the user's override log, which may have the rest logged by `super()`."""
        self._pending.append(log)
        try:
            self._module.call_logging_hook(outputs, batch_idx)
        finally:
            self._pending = []

    def log_step(self) -> None:
        """Log what the step that has just run has measured, once; nothing outside of a step."""
        pending, self._pending = self._pending, []
        for log in pending:
            log()

    def end_epoch(self, mode: str) -> None:
        """Log the values whose names were not known before, and keep those that are no numbers."""
        module, arrays = self._module, dict[str, Tensor]()
        trainer = module.trainer
        if trainer.barebones:
            return
        for (of, loader_idx), meter in sorted(self._meters.items(), key=lambda item: item[0]):
            if of == mode and meter.is_open and meter.metrics is not None:
                suffix = loader_suffix(trainer, mode, loader_idx)
                self.log_late(mode, suffix, meter.unannounced_values())
                arrays |= {name + suffix: array for name, array in meter.arrays.items()}
                if mode != "train":  # a checkpoint at the end of a training epoch has what that has measured
                    meter.release_foreign()
        keep_arrays(trainer, mode, arrays)

    def log_late(self, mode: str, suffix: str, values: Mapping[str, Tensor], *, sync_dist: bool = False) -> None:
        """Log values of an epoch when it is over; with `sync_dist`, their means over processes."""
        with warnings.catch_warnings():  # the values are those of all processes, and not all of them may log them
            warnings.filterwarnings("ignore", "It is recommended to use .*sync_dist=True")
            for name, value in values.items():
                self._module.log(
                    at_epoch(mode, name) + suffix,
                    value.float(),
                    on_epoch=True,
                    prog_bar=mode != "train",
                    batch_size=1,
                    add_dataloader_idx=False,  # it stands in the name: Lightning knows of none when an epoch ends
                    sync_dist=sync_dist,
                )

    def _log(
        self,
        meter: Meter,
        mode: str,
        loader_idx: int,
        batch: Any,
        losses: Mapping[str, Tensor],
        batch_values: Any,
        *,
        wanted: bool,
    ) -> None:
        new_names = meter.new_names()
        if new_names:
            self._announce(meter, mode, new_names)
            if losses and not self._is_size_told:  # once an epoch, at its first loss
                self._tell_size(batch)
        if wanted:
            self._log_step(meter, mode, loader_idx, losses, batch_values)

    def _is_next_of_batch(self, trainer: pl.Trainer) -> bool:
        """Return whether the training step runs on a batch that was measured."""
        before, self._batch = self._batch, batches_started(trainer)
        return self._batch == before

    def _repeat(self, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the training step for an optimizer that asks again, as LBFGS: a batch counts as it did at first."""
        metrics = self._module.train_metrics
        self.is_repeated = True
        try:
            with unchanged(metrics.modules() if metrics is not None else ()):
                output = step(self._module, *args, **kwargs)
        finally:
            self.is_repeated = False
        return sort_output(output, step.__name__, needs_loss=True, weights=self._loss_weights).returned

    def _weight(self, batch: Any) -> int:
        samples = self._module.count_samples(batch)
        if samples is None:
            rank_zero_warn(
                f"the number of samples in {describe(batch)} cannot be told, so each such batch counts as one in the"
                f" means of losses. Override `count_samples(self, batch)` in"
                f" {type(self._module).__name__}."
            )
        return 1 if samples is None else samples

    def _tell_size(self, batch: Any) -> None:
        """Say as how many samples a batch counts, if its tensors do not agree on that, and nobody has said it."""
        kind = type(self._module)
        is_guessed = is_marked(kind.count_samples, "is_default")
        sizes = sizes_that_differ(batch) if is_guessed else {}
        if sizes:
            self._is_size_told = True
            found = " and ".join(f"{size} in `{name}`" for name, size in sizes.items())
            rank_zero_warn(
                f"this batch counts as {next(iter(sizes.values()))} samples in the means of losses, by the first"
                f" dimension of its first tensor, but first dimensions differ: {found}. If that is not the number of"
                f" samples, say it in {kind.__name__}:\n  def count_samples(self, batch): return len(...)"
            )

    def _meter(self, mode: str, loader_idx: int) -> Meter:
        metrics = getattr(self._module, f"{mode}_metrics")
        meter = self._meters.get((mode, loader_idx))
        if meter is None or meter.metrics is not metrics:
            meter = self._meters[mode, loader_idx] = Meter(metrics)
        return meter

    def _begin_epoch(self, mode: str, loader_idx: int) -> Meter:
        trainer, meter = self._module.trainer, self._meter(mode, loader_idx)
        meter.start(is_trial=is_sanity_check(trainer))
        if trainer.world_size > 1:  # every process takes part in the sums of the epoch, whatever its own steps return
            self._log_epoch_value(_ALL_VALUES.format(mode=mode), meter.epoch_value(""), shown=False)
        if mode == "train":
            row = dict(optimizer_values(trainer.optimizers))
            log = partial(self._publish, row, logging_step(trainer), for_callbacks=True)
            self._pending = [log]
            if not self._has_hook:
                self.log_step()
        elif trainer.world_size > 1:
            loaders = trainer.val_dataloaders if mode == "val" else trainer.test_dataloaders
            warn_of_repeats(loaders, loader_idx, trainer.world_size)
        return meter

    def _explain_none(self, error: TypeError, mode: str) -> None:
        """A step that calls what the config leaves out gets told which keys those are."""
        absent = [part for part in ("criterion", f"{mode}_metrics") if getattr(self._module, part, None) is None]
        if absent and "'NoneType' object is not callable" in str(error):
            add_note(error, f"the config has no `{'` and no `'.join(absent)}`; a step that uses it needs it")

    def _is_read(self, mode: str, batch_idx: int | None) -> bool:
        """Whether anybody sees the values of the step that is about to run."""
        trainer = self._module.trainer
        if mode == "train":
            due = logs_this_step(trainer)
        else:
            every = trainer.log_every_n_steps
            due = bool(every) and (batch_idx or 0) % every == 0 and not is_sanity_check(trainer)
        return due and bool(trainer.loggers or trainer.progress_bar_callback)

    def _announce(self, meter: Meter, mode: str, names: Collection[str]) -> None:
        """Tell Lightning, once an epoch, which values it will have; it asks for them when the epoch is over."""
        for name in names:
            shown = mode != "train" or name.startswith("loss")
            self._log_epoch_value(at_epoch(mode, name), meter.epoch_value(name), shown=shown)

    def _log_epoch_value(self, name: str, value: EpochValue, *, shown: bool) -> None:
        module = self._module
        if not log_again(module.trainer, module._current_fx_name, name, value):
            module.log(name, value, on_step=False, on_epoch=True, prog_bar=shown, batch_size=1, metric_attribute=name)

    def _log_step(
        self, meter: Meter, mode: str, loader_idx: int, losses: Mapping[str, Tensor], batch_values: Any
    ) -> None:
        """Give the values of this step to the loggers and the progress bar: the one transfer to the host."""
        values = {loss_name(name): loss for name, loss in losses.items()}
        if meter.metrics is not None and batch_values is not None:
            of_batch = values_of(meter.metrics, batch_values).numbers
            values |= {metric_name(name): value for name, value in of_batch.items()}
        if not values:
            return
        trainer = self._module.trainer
        suffix = loader_suffix(trainer, mode, loader_idx)
        device = next(iter(values.values())).device
        numbers = torch.stack([value.detach().float().to(device) for value in values.values()]).tolist()
        row = {at_step(mode, name) + suffix: number for name, number in zip(values, numbers, strict=True)}
        step = logging_step(trainer) if mode == "train" else meter.steps_seen
        self._publish(row, step, for_callbacks=mode == "train")
        if mode == "train":
            trainer.progress_bar_metrics.update({name: number for name, number in row.items() if "/loss/" in name})

    def _publish(self, row: Mapping[str, float], step: int, *, for_callbacks: bool) -> None:
        trainer = self._module.trainer
        tensors = {name: torch.tensor(number, dtype=torch.float64) for name, number in row.items()}
        trainer.logged_metrics.update(tensors)
        if for_callbacks:
            trainer.callback_metrics.update(tensors)
        for logger in trainer.loggers:
            logger.log_metrics({**row, "epoch": trainer.current_epoch}, step=step)


def loader_count(trainer: pl.Trainer, mode: str) -> int:
    """The number of dataloaders of a mode."""
    return {"train": 1, "val": len(trainer.num_val_batches), "test": len(trainer.num_test_batches)}[mode]


def loader_suffix(trainer: pl.Trainer, mode: str, loader_idx: int) -> str:
    """The end of the names of a dataloader's values, where there are several."""
    return f"/dataloader_idx_{loader_idx}" if loader_count(trainer, mode) > 1 else ""


def _has_logging_hook(kind: type) -> bool:
    """Return whether a user's class overrides the method that logs a step."""
    hook = getattr(kind, getattr(kind, "logging_hook", ""), None)
    return hook is not None and not getattr(hook, "is_lighters", False)


def _calls_closure_once(optimizer: Any) -> bool:
    """Return whether an optimizer is known to run the training step once a step: those of torch are, but LBFGS."""
    return type(optimizer).__module__.startswith("torch.optim.") and not isinstance(optimizer, torch.optim.LBFGS)


def prepare_metrics(given: Any, name: str) -> Metrics | None:
    """Metrics as the config or the user gives them: one, a collection, or a list or dict of metrics.

    Raises:
        ModuleTypeError: anything else.
    """
    if isinstance(given, MetricCollection):
        share_updates(given)
    if given is None or isinstance(given, (Metric, MetricCollection)):
        return given
    members = given.values() if isinstance(given, Mapping) else given if isinstance(given, (list, tuple)) else [given]
    for member in members:
        if not isinstance(member, (Metric, MetricCollection)) and (isinstance(member, type) or not has_methods(member)):
            where = "" if member is given else f" among {name}'s members"
            raise ModuleTypeError(
                f"`{name}` takes a torchmetrics.Metric, a MetricCollection, another object with {EXPECTED}, or a list"
                f" or dict of metrics; found a {type(member).__name__}{where}. {_METRICS_EXAMPLE}"
            )
    return collection_of(as_members(given if isinstance(given, Mapping) else list(members))) if members else None


def measured(step: Any, mode: str, name: str) -> Callable[..., Any]:
    """A user's step that is measured when Lightning calls it, and plain when another step of the class calls it."""
    plain = step if inspect.isfunction(step) else _called_as_method(step, name)

    @functools.wraps(plain)
    def measured_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        measure: Measuring = vars(self)["_measure"]
        if measure.in_step:
            return plain(self, *args, **kwargs)
        measure.in_step = True
        try:
            return measure.step(mode, plain, args, kwargs)
        finally:
            measure.in_step = False

    lightnings = getattr(LightningModule, name)  # which counts as not written
    written = inspect.unwrap(plain, stop=lambda function: vars(function)["__wrapped__"] is lightnings)
    written.__signature__ = inspect.signature(written)  # Lightning asks at every step
    measured_step.__name__ = name
    measured_step.__wrapped__ = written  # Lightning looks one level deep
    measured_step.unmeasured = step  # type: ignore[attr-defined]
    measured_step.is_measured = measured_step  # type: ignore[attr-defined]
    return measured_step


def measure_steps(kind: type) -> None:
    """Have the steps of a class measured, those too that came to it by `setattr` or from a mixin."""
    for name, mode in STEPS.items():
        step = inspect.getattr_static(kind, name)
        is_measured = is_marked(step, "is_measured")
        if is_written(step, name) and not (is_measured and step.__name__ == name):
            setattr(kind, name, measured(step.unmeasured if is_measured else step, mode, name))


def _called_as_method(step: Any, name: str) -> Callable[..., Any]:
    """A function that does what some other descriptor does, a partialmethod say."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return step.__get__(self, type(self))(*args, **kwargs)

    call.__name__ = name
    return call


def is_written(step: Any, name: str) -> bool:
    """Whether a step is somebody's, and neither Lightning's own nor one that exists only sometimes."""
    own = inspect.getattr_static(LightningModule, name)
    return step is not own and not isinstance(step, ExistsIf) and not is_marked(step, "is_missing")


def _is_skipped(trainer: Any, losses: Mapping[str, Tensor]) -> bool:
    """Return whether a trainer with `on_non_finite: skip` leaves out a training step with these losses."""
    skips = getattr(trainer, "on_non_finite", None) == "skip"  # Lightning's own trainer has no such attribute
    return skips and not all(math.isfinite(loss.item()) for loss in losses.values())
