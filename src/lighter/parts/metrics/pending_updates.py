"""Updates of metrics that wait, to be computed together.

An update of accuracy and F1 is dozens of small operations of torch: 100 to 250 microseconds, and the same for a batch
of 32 as for one of 1,000. On a GPU it is as many launches, and a wait for the device where torchmetrics validates the
values. The states of such metrics are sums of integers (`integer_sums.py`). So `PendingUpdates` keeps copies of
predictions and targets, and updates the metrics with many batches at once. The states are those of an update for each
batch, bit for bit.

    update -> at once, if the tensors are of another form than those before, or the metrics are not known to add up
           -> otherwise it waits, until anything touches the metrics, or there is no room

**Whoever touches the metrics finds them updated.** While updates wait, a metric has a class derived from its own, whose
attributes compute the updates before they answer; then it has its own class again. States, `compute`, `reset`,
`state_dict`, `to`, settings, copies: all begin with an attribute. A proxy would not do, as users hold the metrics
themselves, and torchmetrics has no hook that is called before a state is read.

**An error comes late, and names its batch.** Shapes, types and devices are compared at once. A value that a metric
refuses is found when the updates are computed. They are then repeated one by one: the error is the metric's own, with a
note, and all other batches are counted. Checkpoints read the states, so none is saved before the error.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lighter._lightning.metrics import set_update_count
from lighter.errors import add_note
from lighter.parts.metrics.integer_sums import Merging, merging

Form: TypeAlias = tuple[object, ...]

MAX_UPDATES = 64
"""Updates that may wait: then some 5% of the time of an update is left, and an error comes at most 64 batches late."""

_PENDING = "_lighter_pending"  # the attribute of a metric whose updates wait


class _Batch(NamedTuple):
    """The tensors of an update, and all about them that must not change from one update to the next."""

    preds: Tensor
    target: Tensor
    samples: int
    form: Form


class _Waiting(NamedTuple):
    """An update that waits, with the number of its batch."""

    preds: Tensor
    target: Tensor
    batch: int | None


class PendingUpdates:
    """Update metrics, many batches at a time."""

    def __init__(self, metrics: Metric | MetricCollection) -> None:
        self.metrics = metrics
        # the number of the batch that the next update is of, for the message of an error
        self.batch: int | None = None
        self._form: Form | None = None  # of the update before, which the metrics have taken
        self._unmergeable: Form | None = None  # of updates that do not wait
        self._waiting: list[_Waiting] = []
        self._samples = 0  # of those that wait
        self._merging = Merging(0, frozenset(), can_normalize=False)
        self._is_inference = False
        self._kinds: list[tuple[nn.Module, type]] = []

    def update(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, are_copies: bool = False) -> None:
        """Update the metrics, now or later; small tensors may be copies already, that nobody changes."""
        batch = _batch_of(args, kwargs)
        if batch is not None and self._may_wait(batch):
            self._keep(batch if are_copies else batch._replace(preds=batch.preds.clone(), target=batch.target.clone()))
            return
        self.finish()
        self.metrics.update(*args, **kwargs)
        # only after it: a form that the metrics refuse is not to wait
        self._form = None if batch is None else batch.form

    @property
    def is_waiting(self) -> bool:
        """True if updates wait, so that nobody has touched the metrics since."""
        return bool(self._waiting)

    def was_updated(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Take note of an update that somebody else did: the next one of its form may wait."""
        batch = _batch_of(args, kwargs)
        self._form = None if batch is None else batch.form

    def finish(self) -> None:
        """Compute the updates that wait.

        Raises:
            Exception: of a metric, for the first batch that it refuses.
        """
        form, self._form = self._form, None
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        # else somebody reads the metrics at every step, and the next update is computed at once
        if len(waiting) > 1:
            self._form = form
        # first of all: what follows reads the metrics, and would end here again
        for metric, kind in self._kinds:
            _show(metric, kind)
        # tensors of inference mode cannot be changed outside of it: the states are made where the batches were
        with torch.inference_mode(self._is_inference):
            if len(waiting) > 1:
                if self._update_together(waiting):
                    return
                self._unmergeable = form
            self._update_each(waiting)

    def _may_wait(self, batch: _Batch) -> bool:
        if batch.form != self._form:
            return False
        if self._waiting and not self._has_room(batch):
            self.finish()
            self._form = batch.form
        return bool(self._waiting) or (batch.form != self._unmergeable and self._begin(batch))

    def _begin(self, batch: _Batch) -> bool:
        """Let the metrics wait, if they may with such batches."""
        # each time: users may have changed the metrics since, and this also ends the waiting of others that hold them
        parts = _parts(self.metrics)
        how = merging(parts, batch.preds, batch.target)
        if how is None:
            self._unmergeable = batch.form  # to find that out takes longer than some updates
            return False
        self._merging, self._samples, self._is_inference = how, 0, torch.is_inference_mode_enabled()
        self._kinds = [(part, type(part)) for part in parts]
        for part in parts:
            _hide(part, self)
        return True

    def _has_room(self, batch: _Batch) -> bool:
        samples = self._samples + batch.samples
        return len(self._waiting) < MAX_UPDATES and samples <= self._merging.max_samples

    def _keep(self, batch: _Batch) -> None:
        # copies: users may change the tensors, and a small tensor may hold the memory of a large one
        self._samples += batch.samples
        self._waiting.append(_Waiting(batch.preds.detach(), batch.target.detach(), self.batch))

    def _update_together(self, waiting: Sequence[_Waiting]) -> bool:
        """Update the metrics with all batches in one; return False, with nothing changed, if that is not the same."""
        preds = self._merging.join([each.preds for each in waiting])
        if preds is None:
            return False
        metrics = [part for part, _ in self._kinds if isinstance(part, Metric)]
        before = _states(metrics)
        try:
            self.metrics.update(preds, torch.cat([each.target for each in waiting]))
        except Exception:  # noqa: BLE001 - of any metric: the error of the batch that it is about is raised
            for metric, (count, states) in zip(metrics, before, strict=True):
                set_update_count(metric, count)
                for name, state in states.items():
                    setattr(metric, name, state)
            return False
        for metric, (count, _) in zip(metrics, before, strict=True):
            updates = metric.update_count - count  # two if a wrapper holds it, too
            if updates > 0:  # in a compute group, torchmetrics leaves out what a wrapper holds
                set_update_count(metric, count + updates * len(waiting))
        return True

    def _update_each(self, waiting: Sequence[_Waiting]) -> None:
        first: Exception | None = None
        for preds, target, batch in waiting:
            try:
                self.metrics.update(preds, target)
            except Exception as error:  # noqa: BLE001 - the batches after it were measured as well
                if batch is not None:
                    add_note(error, f"this is of batch {batch}; metrics are updated with several batches at once")
                first = first or error
        if first is not None:
            raise first


def _batch_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Batch | None:
    """Return the tensors that an update was called with; None if it has others than predictions and targets."""
    preds = args[0] if args else kwargs.get("preds")
    target = args[1] if len(args) == 2 else kwargs.get("target")
    if type(preds) is not Tensor or type(target) is not Tensor or len(args) > 2:
        return None
    shape, of_target = preds.shape, target.shape
    if not shape or not of_target or not shape[0] or shape[0] != of_target[0]:
        return None
    form = (
        shape[1:], preds.dtype, preds.device, preds.is_contiguous(), of_target[1:], target.dtype, target.device,
        torch.is_inference_mode_enabled(), len(args), *kwargs,
    )  # fmt: skip
    return _Batch(preds, target, shape[0], form)


def _states(metrics: Sequence[Metric]) -> list[tuple[int, dict[str, Tensor]]]:
    """Copy the update counts and states of metrics; those that share a state share the copy."""
    copies: dict[int, Tensor] = {}
    states: list[tuple[int, dict[str, Tensor]]] = []
    for metric in metrics:
        tensors = {name: state for name, state in metric.metric_state.items() if isinstance(state, Tensor)}
        for state in tensors.values():
            if id(state) not in copies:
                copies[id(state)] = state.clone()
        states.append((metric.update_count, {name: copies[id(state)] for name, state in tensors.items()}))
    return states


def _parts(metrics: nn.Module) -> list[nn.Module]:
    # each once: a metric may be in a collection and in a wrapper of that, and is hidden once
    parts = {id(metrics): metrics}
    for child in metrics.children():
        parts.update((id(part), part) for part in _parts(child))
    return list(parts.values())


class _Untouched:
    """The attributes of a metric whose updates wait: they compute the updates, which ends the waiting, and answer."""

    def __getattribute__(self, name: str) -> Any:
        _finish(self)
        # the class is the metric's own again, so this comes here once
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _finish(self)
        setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        _finish(self)
        delattr(self, name)


def _finish(metric: _Untouched) -> None:
    pending: PendingUpdates = object.__getattribute__(metric, "__dict__")[_PENDING]
    pending.finish()


def _hide(metric: nn.Module, pending: PendingUpdates) -> None:
    kind: type = type(metric)
    vars(metric)[_PENDING] = pending
    object.__setattr__(metric, "__class__", _untouched(kind))


def _show(metric: nn.Module, kind: type) -> None:
    # by `object`, as every attribute of the metric leads back to `finish`
    del object.__getattribute__(metric, "__dict__")[_PENDING]
    object.__setattr__(metric, "__class__", kind)


@functools.cache
def _untouched(kind: type) -> type:
    # messages and files name a metric by its class
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return types.new_class(kind.__name__, (_Untouched, kind), exec_body=lambda body: body.update(names))
