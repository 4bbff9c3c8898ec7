"""Measure a module's steps: the losses that they return and the metrics that they update, by step and by epoch.

A `BaseModule` holds a `Measuring`, and its steps are wrapped by `measured` (`measured_steps.py`), so none of
Lightning's hooks is needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DistributedSampler
from torchmetrics import Metric, MetricCollection

from lighter._lightning.modules import trainer_of
from lighter._lightning.steps import batches_started, is_sanity_check, logging_step, logs_this_step, runs_steps_of
from lighter.errors import add_note
from lighter.parallel.ranks import data_size
from lighter.parts.batches import sizes_that_differ
from lighter.parts.describe import describe
from lighter.parts.hooks import is_marked
from lighter.parts.metrics.arrays import keep_arrays
from lighter.parts.metrics.batch_values import Metrics, StepMetrics
from lighter.parts.metrics.log_names import at_epoch, optimizer_values
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.metrics.meter import Meter
from lighter.parts.metrics.pending_updates import PendingUpdates
from lighter.parts.metrics.state import unchanged
from lighter.parts.metrics.step_output import as_dict, sort_output
from lighter.parts.metrics.value_log import ALL_VALUES, MeasuredModule, MeasuredStep, ValueLog, loader_suffix


class Measuring:
    """Accumulate and log what a module's steps return and do to its metrics."""

    def __init__(self, module: MeasuredModule, loss_weights: LossWeights | None) -> None:
        self._module, self._loss_weights = module, loss_weights
        self.values = ValueLog(module)
        self._meters: dict[tuple[str, int], Meter] = {}
        # whether a step runs: one that it calls itself is not measured again
        self.in_step = False
        # whether an optimizer runs the training step once more on its batch, which was measured
        self.is_repeated = False
        # the metrics as the step that runs sees them, by the module's attribute
        self.step_metrics: dict[str, StepMetrics] = {}
        self._has_warned_of_size = False
        # whether an optimizer may call its closure several times, and the training batch that was measured last
        self._may_repeat, self._batch = False, 0
        hook = getattr(type(module), getattr(type(module), "logging_hook", ""), None)
        self._has_hook = hook is not None and not hook.__module__.startswith("lighter.")  # the user's override
        self._pending: list[Callable[[], None]] = []
        self._batch_idx: int | None = None  # of the step that runs
        self._evaluators: dict[int, PendingUpdates] = {}

    def begin_fit(self) -> None:
        # torch's optimizers are known to run the training step once a step, except LBFGS
        self._may_repeat = not all(
            type(one).__module__.startswith("torch.optim.") and not isinstance(one, torch.optim.LBFGS)
            for one in self._module.trainer.optimizers
        )
        self._batch = 0

    @property
    def steps_seen(self) -> dict[str, int]:
        """The number of measured steps by mode and dataloader, `val/0`, from which a resumed run continues."""
        return {f"{mode}/{loader}": meter.steps_seen for (mode, loader), meter in self._meters.items()}

    @steps_seen.setter
    def steps_seen(self, steps: Mapping[str, int]) -> None:
        for key, seen in steps.items():
            mode, _, loader = key.partition("/")
            self._meter(mode, int(loader)).steps_seen = seen

    def state_dict(self) -> dict[str, Any]:
        """Return what the training epoch has measured so far, for a checkpoint in the middle of it."""
        return {str(loader): meter.state_dict() for loader, meter in self._training_meters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for loader, saved in state.items():
            self._meter("train", int(loader)).load_state_dict(saved, self._module.device)

    def epoch_values(self) -> dict[str, Metric]:
        """Return the metrics that Lightning was given for the training epoch, by their logged names."""
        logged: dict[str, Metric] = {}
        for _, meter in self._training_meters():
            for name, value in meter.epoch_values.items():
                logged[at_epoch("train", name) if name else ALL_VALUES.format(mode="train")] = value
        return logged

    def busy_metrics(self) -> list[Metrics]:
        """Return the metrics of the training epoch that is being measured."""
        return [meter.metrics for _, meter in self._training_meters() if meter.metrics is not None]

    def update_evaluator(self, evaluator: Any, inputs: Mapping[str, Any]) -> None:
        """Update an object that is none of the module's metrics; one of torchmetrics with several batches at once."""
        pending = self._evaluators.get(id(evaluator))  # before its class is asked for, which would compute what waits
        if pending is None:
            if not isinstance(evaluator, (Metric, MetricCollection)):
                getattr(evaluator, "update", evaluator)(**inputs)
                return
            pending = self._evaluators[id(evaluator)] = PendingUpdates(evaluator)
        pending.batch = self._batch_idx
        pending.update((), inputs)

    def _training_meters(self) -> list[tuple[int, Meter]]:
        return [(loader, meter) for (mode, loader), meter in self._meters.items() if mode == "train" and meter.is_open]

    def step(self, mode: str, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a user's step, and measure what it returned and did to the metrics."""
        module = self._module
        trainer = trainer_of(module)
        needs_loss = mode == "train" and module.automatic_optimization
        # called by the user, outside of a loop: nothing is logged, and nothing accumulates
        if trainer is None or trainer.barebones or not runs_steps_of(trainer, mode):
            output = step(module, *args, **kwargs)
            return sort_output(output, step.__name__, needs_loss=needs_loss, weights=self._loss_weights).returned
        if self._may_repeat and needs_loss and self._is_next_of_batch(trainer):
            return self._repeat(step, args, kwargs)
        batch_idx = kwargs.get("batch_idx", args[1] if len(args) > 1 else None)
        loader_idx = kwargs.get("dataloader_idx", args[2] if len(args) > 2 else 0)
        meter = self._meters.get((mode, loader_idx))
        # an epoch that was cut short was not closed; its first batch tells that another has begun
        if meter is None or not meter.is_open or batch_idx == 0:
            meter = self._begin_epoch(trainer, mode, loader_idx)
        wanted = self._is_logged(trainer, mode, batch_idx)
        self._batch_idx = batch_idx
        meter.begin_step(batch_idx, wanted=wanted)
        try:
            returned = self._run(meter, mode, step, args, kwargs)
        except TypeError as error:
            # the error of a call of None does not say that a part of the config is missing
            absent = [name for name in ("criterion", f"{mode}_metrics") if getattr(module, name, None) is None]
            if absent and "'NoneType' object is not callable" in str(error):
                add_note(error, f"the config has no `{'` and no `'.join(absent)}`; a step that uses it needs it")
            raise
        output = sort_output(returned, step.__name__, needs_loss=needs_loss, weights=self._loss_weights)
        batch = args[0] if args else kwargs.get("batch")
        # the trainer drops such a step, so the epoch's mean is not of it either
        if output.losses and not (mode == "train" and _is_skipped(trainer, output.losses)):
            meter.add(output.losses, self._count_samples(batch))
        done = MeasuredStep(meter, mode, loader_idx, batch, output.losses, meter.end_step(), wanted)
        if self._has_hook:
            self._call_hook(partial(self._log, done), as_dict(output), batch_idx)
        else:
            self._log(done)
        # a sanity check is of no epoch, and would shift the steps of all validations after it
        meter.steps_seen += mode == "train" or not is_sanity_check(trainer)
        return output.returned

    def _run(
        self, meter: Meter, mode: str, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a step in which the module's metrics only update when they are called."""
        if meter.step_metrics is None:
            return step(self._module, *args, **kwargs)
        self.step_metrics = {f"{mode}_metrics": meter.step_metrics}
        try:
            return step(self._module, *args, **kwargs)
        finally:
            self.step_metrics = {}

    def _call_hook(self, log: Callable[[], None], outputs: dict[str, Any], batch_idx: int | None) -> None:
        """Let the user's override log, which may have the rest logged by `super()`."""
        self._pending.append(log)
        try:
            self._module.call_logging_hook(outputs, batch_idx)
        finally:
            self._pending = []

    def log_step(self) -> None:
        """Log the values of the step that has just run, once."""
        # once, although a hook may call `super()` twice; outside of a step there is nothing
        pending, self._pending = self._pending, []
        for log in pending:
            log()

    def end_epoch(self, mode: str) -> None:
        """Log the values whose names were not known before, and save those that are no numbers."""
        trainer, arrays = self._module.trainer, dict[str, Tensor]()
        if trainer.barebones:
            return
        # sorted, as the values are computed by all processes together, and dicts fill as steps come
        for (meter_mode, loader_idx), meter in sorted(self._meters.items(), key=lambda item: item[0]):
            if meter_mode == mode and meter.is_open and meter.metrics is not None:
                suffix = loader_suffix(trainer, mode, loader_idx)
                self.values.log_late(mode, suffix, meter.unannounced_values())
                arrays |= {name + suffix: array for name, array in meter.arrays.items()}
                if mode != "train":  # a checkpoint at the end of a training epoch saves what that has measured
                    meter.release_foreign()
        keep_arrays(trainer, mode, arrays)

    def _log(self, step: MeasuredStep) -> None:
        new_names = step.meter.new_names()
        if new_names:
            self.values.announce(step.meter, step.mode, new_names)
            if step.losses and not self._has_warned_of_size:  # once an epoch, at its first loss
                self._warn_of_guessed_size(step.batch)
        if step.wanted:
            self.values.log_step(step)

    def _is_next_of_batch(self, trainer: pl.Trainer) -> bool:
        """Return whether the training step runs on a batch that was measured; remembers the batch."""
        before, self._batch = self._batch, batches_started(trainer)
        return self._batch == before

    def _repeat(self, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the training step for an optimizer that asks again, as LBFGS does."""
        meter = self._meter("train", 0)
        meter.begin_step(wanted=False)
        self.is_repeated = True
        try:
            # a batch counts once, as it did at first
            with unchanged(meter.metrics.modules() if meter.metrics is not None else ()):
                output = self._run(meter, "train", step, args, kwargs)
        finally:
            self.is_repeated = False
        return sort_output(output, step.__name__, needs_loss=True, weights=self._loss_weights).returned

    def _count_samples(self, batch: object) -> int:
        samples = self._module.count_samples(batch)
        if samples is None:
            rank_zero_warn(
                f"the number of samples in {describe(batch)} cannot be told, so each such batch counts as one in the"
                f" means of losses. Override `count_samples(self, batch)` in"
                f" {type(self._module).__name__}."
            )
        return 1 if samples is None else samples

    def _warn_of_guessed_size(self, batch: object) -> None:
        """Say as how many samples a batch counts, if its tensors do not agree on that and the user has not said it."""
        kind = type(self._module)
        sizes = sizes_that_differ(batch) if is_marked(kind.count_samples, "is_default") else {}
        if sizes:
            self._has_warned_of_size = True
            named = " and ".join(f"{size} in `{name}`" for name, size in sizes.items())
            rank_zero_warn(
                f"this batch counts as {next(iter(sizes.values()))} samples in the means of losses, by the first"
                f" dimension of its first tensor, but first dimensions differ: {named}. If that is not the number of"
                f" samples, say it in {kind.__name__}:\n  def count_samples(self, batch): return len(...)"
            )

    def _meter(self, mode: str, loader_idx: int) -> Meter:
        metrics = getattr(self._module, f"{mode}_metrics")
        meter = self._meters.get((mode, loader_idx))
        # the user may have replaced them
        if meter is None or meter.metrics is not metrics:
            meter = self._meters[mode, loader_idx] = Meter(metrics)
        return meter

    def _begin_epoch(self, trainer: pl.Trainer, mode: str, loader_idx: int) -> Meter:
        meter = self._meter(mode, loader_idx)
        meter.start(is_trial=is_sanity_check(trainer))
        if trainer.world_size > 1:  # every process takes part in the sums of the epoch, whatever its own steps return
            self.values.log_epoch_value(ALL_VALUES.format(mode=mode), meter.announce(""), shown=False)
        if mode == "train":
            row = dict(optimizer_values(trainer.optimizers))
            # with an override of the logging hook, its `super()` logs the optimizers too
            self._pending = [partial(self.values.publish, row, logging_step(trainer), for_callbacks=True)]
            if not self._has_hook:
                self.log_step()
        elif trainer.world_size > 1:
            loaders = trainer.val_dataloaders if mode == "val" else trainer.test_dataloaders
            _warn_of_repeated_samples(tree_leaves(loaders)[loader_idx], data_size(trainer.world_size))
        return meter

    def _is_logged(self, trainer: pl.Trainer, mode: str, batch_idx: int | None) -> bool:
        """Return whether anybody sees the values of the step that is about to run."""
        if mode == "train":
            due = logs_this_step(trainer)
        else:
            every = trainer.log_every_n_steps  # type: ignore[attr-defined]
            due = bool(every) and (batch_idx or 0) % every == 0 and not is_sanity_check(trainer)
        # the values of a logged step are read by the host, which waits for the device
        return due and bool(trainer.loggers or trainer.progress_bar_callback)


def _is_skipped(trainer: pl.Trainer, losses: Mapping[str, Tensor]) -> bool:
    """Return whether a trainer with `on_non_finite: skip` leaves out a training step with these losses."""
    skips = getattr(trainer, "on_non_finite", None) == "skip"  # Lightning's own trainer has no such attribute
    return skips and not all(math.isfinite(loss.item()) for loss in losses.values())


def _warn_of_repeated_samples(loader: object, processes: int) -> None:
    """Say so where a distributed sampler repeats samples to even out the shares: the epoch counts them twice."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler):
        return
    samples = len(sampler.dataset)  # type: ignore[arg-type]
    repeated = sampler.total_size - samples
    if repeated > 0:
        rank_zero_warn(
            f"{samples} samples on {processes} processes: {repeated} of them counted twice, so that all have the same"
            " number. For exact values, evaluate on one process (trainer::devices=1)."
        )
