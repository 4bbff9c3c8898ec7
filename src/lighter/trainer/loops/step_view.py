"""A module as its own step sees it: metrics that only update when they are called, and a `self.log` that is cheap.

torchmetrics computes a metric's value for each batch when it is called, and `self.log` prepares its arguments anew at
each call. Together they cost several times the step of a small network. Both are needed for the values that somebody
reads, those of every `log_every_n_steps`-th step mostly. So while a step runs, its metrics are replaced by proxies that
compute the value of a batch when it is read, and its `log` by `LogCalls`. Afterwards all is as it was.

What the step computes, logs and leaves in the metrics is the same, bit for bit. Where that is not known, Lightning's
own way runs: for metrics whose state is not a plain sum, and for modules that override `log`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics import classification as kinds
from torchmetrics.aggregation import MeanMetric, SumMetric
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from lighter._lightning.logged_values import LoggedValue, ResultCollection, logger_connector
from lighter._lightning.metrics import batch_value, is_grouped, set_batch_value
from lighter._lightning.modules import CURRENT_HOOK
from lighter._lightning.steps import logs_this_step
from lighter.base import BaseModule
from lighter.parts.metrics.batch_values import BatchValues, has_large
from lighter.parts.metrics.integer_sums import adds_integers
from lighter.parts.metrics.lazy_values import LazyTensor
from lighter.parts.proxy import Proxy, uncompiled, wrapped_by

# their updates add once to each state, so that adding to the sum and adding the sum of a batch give the same bits
_ADD_ONCE = (MeanMetric, SumMetric, MeanAbsoluteError, MeanSquaredError)
# the classes of binned curves, and those of them whose value is one tensor
_CURVES = tuple(getattr(kinds, f"{task}PrecisionRecallCurve") for task in ("Binary", "Multiclass", "Multilabel"))
_AREAS = tuple(
    getattr(kinds, f"{task}{name}")
    for task in ("Binary", "Multiclass", "Multilabel")
    for name in ("AUROC", "AveragePrecision")
)
_OPTIONS_BEFORE_LOADER = 8  # the positional arguments of `log` after the value and before `add_dataloader_idx`


class StepView:
    """Replaces metrics and `log` of a module while a step of it runs."""

    def __init__(self, trainer: pl.Trainer, results: ResultCollection, batch_idx: Callable[[], int]) -> None:
        self._trainer, self._module = trainer, trainer.lightning_module
        self._attributes = vars(self._module)
        self._log = LogCalls(trainer, results)
        # a module of ours measures its own metrics
        found = () if isinstance(self._module, BaseModule) else _metrics_in(self._module)
        proxies: dict[int, UpdateOnCall] = {}  # one for each metric, which may have several names
        self._proxies = [
            (holder, name, metric, proxies.setdefault(id(metric), UpdateOnCall(metric)))
            for holder, name, metric in found
        ]
        self._is_training, self._batch_idx = results.training, batch_idx

    def shows(self, module: LightningModule) -> bool:
        """Return whether this is the view of a module; prepares for another epoch of it."""
        for _, _, _, proxy in self._proxies:
            proxy.begin_epoch()
        self._proxies = [entry for entry in self._proxies if not _shares_states(entry[0])]
        return module is self._module

    def call(self, step: Callable[..., Any], args: Iterable[Any]) -> Any:
        self._begin()
        try:
            return step(*args)
        finally:
            self._end()

    def _begin(self) -> None:
        self._attributes["log"] = self._log
        wanted = self._is_training and bool(self._proxies) and logs_this_step(self._trainer)
        for holder, name, metric, proxy in self._proxies:
            children = holder._modules
            if children.get(name) is metric:  # the user may have replaced it since
                children[name] = proxy  # type: ignore[assignment]
                proxy.begin(self._batch_idx(), wanted=wanted)

    def _end(self) -> None:
        self._attributes.pop("log", None)
        for holder, name, metric, proxy in self._proxies:
            current: object = holder._modules.get(name)
            if current is proxy:
                holder._modules[name] = metric


def plan_view(
    trainer: pl.Trainer, results: ResultCollection, batch_idx: Callable[[], int], step: str, before: StepView | None
) -> StepView | None:
    """Return the view for the steps of a loop, the one of the epoch before if there is one.

    Returns:
        None if they have to see the module itself.
    """
    module = trainer.lightning_module
    is_plain = type(module).log is LightningModule.log and type(module).log_dict is LightningModule.log_dict
    # an attribute of the name is compiled, or replaced by the user
    if not is_plain or trainer.barebones or not {"log", "log_dict", step}.isdisjoint(vars(module)):
        return None
    return before if before is not None and before.shows(module) else StepView(trainer, results, batch_idx)


def drop_unread_values(trainer: pl.Trainer) -> None:
    """Drop batch values that nobody has read: they hold their batch, and computing them may fail."""
    module: nn.Module | None = trainer.lightning_module
    for metric in module.modules() if module is not None else ():
        if isinstance(metric, Metric) and type(batch_value(metric)) is LazyTensor:
            set_batch_value(metric, None)


class LogCalls:
    """Stands in for a module's `log` while a step runs."""

    # Lightning's `log` checks its arguments, describes the value, compares that with the description of the step
    # before, and looks at signatures and the batch. All of it depends on the arguments besides the value. So the first
    # call of a fit with some arguments is Lightning's own, and those that follow only accumulate.

    def __init__(self, trainer: pl.Trainer, results: ResultCollection) -> None:
        self._trainer, self._module, self._results = trainer, trainer.lightning_module, results
        self._attributes, self._connector = vars(self._module), logger_connector(trainer)
        self._logged: dict[Hashable, LoggedValue] = {}

    def __call__(self, name: str, value: Any, *args: Any, batch_size: int | None = None, **options: Any) -> None:
        """Log a value, as `LightningModule.log` does."""
        if torch.compiler.is_compiling():
            uncompiled(self, name, value, *args, batch_size=batch_size, **options)
            return
        call = (name, args, tuple(options.items()))
        try:
            logged = self._logged.get(call)
        # an argument that has no hash, which Lightning refuses in its own words
        except TypeError:
            logged = None
        if logged is None or not self._add(logged, value, batch_size):
            self._log_first(call, value, batch_size, options)

    def _add(self, logged: LoggedValue, value: Any, batch_size: int | None) -> bool:
        """Add to a value that was logged with the same arguments; return False where Lightning has to do it."""
        # each dataloader has a value of its own, and a step may call a hook that logs under the same name
        if not logged.is_current or self._attributes[CURRENT_HOOK] != logged.hook:
            return False
        self._connector.begin_log(logged.hook)
        kind = type(value)
        if kind is UpdateOnCall:
            return logged.add_metric(value.wrapped, batch_value(value.wrapped))
        if kind is LazyTensor:
            if not logged.needs_number:
                return logged.add_unread(value)
            value = value.value()
            kind = type(value)
        if kind is Tensor:
            return logged.add_tensor(value, batch_size)
        if kind is float or kind is int:
            return logged.add_number(value, self._module.device, batch_size)
        return isinstance(value, Metric) and logged.add_metric(value, batch_value(value))

    def _log_first(self, call: Any, value: Any, batch_size: int | None, options: dict[str, Any]) -> None:
        name, args, _ = call
        if type(value) is UpdateOnCall:
            # Lightning keeps the object that it gets
            value = value.wrapped
        if batch_size is not None:
            options = {**options, "batch_size": batch_size}
        LightningModule.log(self._module, name, value, *args, **options)
        warns = self._trainer.logger is None and (True in args[1:2] or options.get("logger"))
        if len(args) > _OPTIONS_BEFORE_LOADER or not options.get("add_dataloader_idx", True) or warns:
            return
        # a call that is not kept takes Lightning's way the next time, too
        logged = self._results.find(self._attributes[CURRENT_HOOK], name)
        if logged is not None:
            self._logged[call] = logged


class UpdateOnCall(Proxy):
    """A metric that only updates when it is called; what it returns is computed when it is read."""

    __slots__ = ("_batch_values", "_wanted")

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        object.__setattr__(self, "_batch_values", BatchValues(metric))
        object.__setattr__(self, "_wanted", False)

    def begin_epoch(self) -> None:
        """Prepare for another epoch: the user may have changed the metric since."""
        self._batch_values.begin_epoch()

    def begin(self, batch: int, *, wanted: bool) -> None:
        """Begin the step of a batch; where its value is wanted, a call computes it."""
        object.__setattr__(self, "_wanted", wanted)
        self._batch_values.latest, self._batch_values.pending.batch = None, batch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Update the metric. Returns the value of the batch, computed on use."""
        if torch.compiler.is_compiling():
            return uncompiled(self, *args, **kwargs)
        values = self._batch_values
        # what is too large to be copied may be changed in place before its value is read
        values.wanted = self._wanted or has_large(args, kwargs)
        value = values.update(args, kwargs)
        # a hook may log the metric, or a step by another reference to it, and Lightning asks it for the value
        set_batch_value(self.wrapped, value)
        return value

    forward = __call__

    @property
    def wrapped(self) -> Metric:
        """The metric."""
        return self._wrapped  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # who copies or saves the module within a step gets the metric
        return self._wrapped.__reduce_ex__(protocol)


def _delegate(name: str) -> Callable[..., Any]:
    return lambda self, *args: getattr(self._wrapped, name)(*map(wrapped_by, args))


# torchmetrics' arithmetic of metrics, which Python looks up in the class
for _name, _function in vars(Metric).items():
    if _name.startswith("__") and callable(_function) and not hasattr(Proxy, _name):
        setattr(UpdateOnCall, _name, _delegate(_name))


def _metrics_in(module: nn.Module) -> Iterator[tuple[nn.Module, str, Metric]]:
    """Yield the metrics whose sums are the same bits if they only update, each with its holder and its name there."""
    for holder in module.modules():
        # members of a grouped collection get their states from the first of their group
        if isinstance(holder, Metric) or _shares_states(holder):
            continue
        for name, child in holder.named_children():
            if isinstance(child, Metric) and (_counts(child) or type(child) in _ADD_ONCE):
                yield holder, name, child


def _counts(metric: Metric) -> bool:
    # a batch's value of all processes cannot be computed where one of them reads it
    if metric.dist_sync_on_step or not adds_integers(metric):
        return False
    return isinstance(metric, _AREAS) or not isinstance(metric, _CURVES)


def _shares_states(holder: nn.Module) -> bool:
    return isinstance(holder, MetricCollection) and is_grouped(holder)
