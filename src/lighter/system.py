"""`System`: the rung of the ladder on which the user writes no Python. One step serves all modes.

batch -> BatchAdapter -> input, target, identifier
      -> forward: model(input), model(*inputs) or model(**inputs); or inferer(input, model) in val, test and predict
      -> CriterionAdapter -> criterion -> loss           train and val
      -> MetricsAdapter -> metrics                       train, val and test
      -> LoggingAdapter on input, target, pred
      -> the output dict, which callbacks get
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from lighter._lightning.modules import trainer_of
from lighter.adapters import BatchAdapter, CriterionAdapter, LoggingAdapter, MetricsAdapter
from lighter.base import FIT_ONLY, BaseModule
from lighter.config.problems import nearest
from lighter.errors import ModuleTypeError, ModuleValueError, add_note
from lighter.modes import Mode as Mode
from lighter.parts.collate import keep_none
from lighter.parts.describe import describe
from lighter.parts.hooks import ExistsIf
from lighter.parts.metrics.measured_steps import measured
from lighter.parts.model_inputs import (
    SEVERAL_INPUTS_ADVICE,
    NamedInputs,
    PositionalInputs,
    advise_single,
    described_inputs,
    plain_inputs,
)

MODES = ("train", "val", "test", "predict")
ADAPTERS = {"batch": BatchAdapter, "criterion": CriterionAdapter, "metrics": MetricsAdapter, "logging": LoggingAdapter}


def _step_of(mode: str, name: str) -> ExistsIf:
    def step(self: System, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.step(batch, mode)

    step.__name__ = name
    step = measured(step, mode, name) if mode != "predict" else step
    return ExistsIf(step, lambda system: system.has_mode(mode), f"Add `system::dataloaders::{mode}`.")


def _loader_of(mode: str) -> ExistsIf:
    def loader(self: System) -> Any:
        return keep_none(self.dataloaders[mode])

    loader.__name__ = f"{mode}_dataloader"
    return ExistsIf(loader, lambda system: mode in system.dataloaders, f"Add `system::dataloaders::{mode}`.")


# weight averaging copies the module, and must not copy the data
class _Shared(dict[str, Any]):
    def __deepcopy__(self, memo: Any) -> _Shared:
        return self


class System(BaseModule):
    """An experiment made of parts: network, data, loss, metrics, optimizer, and adapters that connect them.

    Subclass it to change one thing: `forward`, `prepare_batch`, `compute_loss`, `compute_metrics`, `prepare_output`,
    or any hook of Lightning's; each calls `super()` for the rest. Arguments that are not listed are `LighterModule`'s.

    Args:
        model: if its `forward` has a parameter `epoch` or `step`, it is given the current one.
        dataloaders: by mode, `train`, `val`, `test`, `predict`: a dataloader, or a list or dict of them. A mode
            without one does not exist for Lightning.
        criterion: the loss function; it may return a dict of losses with `total`.
        metrics: by mode, `train`, `val`, `test`: a metric, a collection, or a list or dict of metrics.
        adapters: by mode, each a dict of `batch`, `criterion`, `metrics`, `logging`.
        inferer: called as `inferer(input, model)` instead of the model in val, test and predict.

    Raises:
        ModuleTypeError: a part of the wrong type.
        ModuleValueError: an unknown mode or adapter.
    """

    logging_hook: ClassVar = "_log_stats"
    overridden_instead: ClassVar[Mapping[str, str]] = {
        "_step": "override `step(self, batch, mode)`",
        "_prepare_batch": "override `prepare_batch(self, batch, mode)`",
        "_calculate_loss": "override `compute_loss(self, input, target, pred, mode)`",
        "_calculate_metrics": "override `compute_metrics(self, input, target, pred, mode)`",
        "_prepare_output": ("override `prepare_output(self, identifier, input, target, pred, loss, metrics, mode)`"),
        **dict.fromkeys(
            ("_log_loss", "_log_metrics", "_log_optimizer_stats"),
            "override `_log_stats(self, loss, metrics, batch_idx)`",
        ),
    }

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        **FIT_ONLY,
        "criterion": {"train", "val"},
        "inferer": {"val", "test", "predict"},
        **{f"dataloaders::{mode}": {mode} for mode in MODES},
        **{f"metrics::{mode}": {mode} for mode in MODES},
        **{f"adapters::{mode}": {mode} for mode in MODES},
    }

    def __init__(
        self,
        model: nn.Module,
        dataloaders: Mapping[str, Any] | None = None,
        optimizer: object = None,
        scheduler: object = None,
        criterion: Callable[..., Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        adapters: Mapping[str, Mapping[str, Any]] | None = None,
        inferer: Callable[..., Any] | None = None,
        finetune_cfg: object = None,
        loss_weights: Mapping[str, float] | None = None,
        ckpt_path: object = None,
        ckpt_match: float = 0.0,
        predict_tasks: Sequence[str] | str | None = None,
    ) -> None:
        _check_keys("dataloaders", dataloaders, MODES)
        _check_keys("metrics", metrics, MODES[:3])
        _check_keys("adapters", adapters, MODES)
        metrics = metrics or {}
        super().__init__(
            criterion=criterion,
            optimizer=optimizer,
            scheduler=scheduler,
            finetune_cfg=finetune_cfg,
            loss_weights=loss_weights,
            ckpt_path=ckpt_path,
            ckpt_match=ckpt_match,
            predict_tasks=predict_tasks,
            **{f"{mode}_metrics": metrics.get(mode) for mode in MODES[:3]},
        )
        if not isinstance(model, nn.Module):
            raise ModuleTypeError(f"`model` is a torch.nn.Module; found {describe(model)}", "model")
        self.model = model
        self.inferer = inferer
        self.dataloaders = _Shared((mode, loader) for mode, loader in (dataloaders or {}).items() if loader is not None)
        self.adapters = {mode: _adapters_of(mode, (adapters or {}).get(mode)) for mode in MODES}
        self._given_adapters = frozenset(
            (mode, key) for mode, given in (adapters or {}).items() for key in given or () if given[key] is not None
        )
        # the signature of a compiled module itself is `*args, **kwargs`
        accepted = inspect.signature(getattr(model, "_orig_mod", model).forward).parameters
        self._injected = tuple(name for name in ("epoch", "step") if name in accepted)
        inputs = [item for name, item in accepted.items() if name not in self._injected and item.kind in _BY_POSITION]
        takes_any = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in accepted.values())
        self._takes_one = not takes_any and sum(item.default is inspect.Parameter.empty for item in inputs) <= 1

    training_step = _step_of("train", "training_step")
    validation_step = _step_of("val", "validation_step")
    test_step = _step_of("test", "test_step")
    predict_step = _step_of("predict", "predict_step")
    train_dataloader = _loader_of("train")
    val_dataloader = _loader_of("val")
    test_dataloader = _loader_of("test")
    predict_dataloader = _loader_of("predict")

    def has_mode(self, mode: str) -> bool:
        """Return whether a mode has data; without any dataloaders, the data comes from elsewhere for all modes."""
        return not self.dataloaders or mode in self.dataloaders

    def step(self, batch: Any, mode: str) -> dict[str, Any]:
        """Run the one step of all modes.

        Returns:
            `identifier`, `input`, `target`, `pred`, `loss` (None in test and predict), `metrics` (the batch's values;
            None in predict), `step` and `epoch`.
        """
        input, target, identifier = self.prepare_batch(batch, mode)
        try:
            pred = self.forward(input)
        except Exception as error:
            chooser = self._adapter(mode, "batch")
            add_note(error, f"the model was called with {described_inputs(input)}; {chooser} chose that")
            # a model that gets a whole batch as one input raises one of these
            if isinstance(error, (TypeError, AttributeError)) and type(input) in (dict, list, tuple) and input:
                if not self._takes_one:
                    add_note(error, SEVERAL_INPUTS_ADVICE)
                elif input is batch:
                    add_note(error, advise_single(input))
            raise
        loss = self.compute_loss(input, target, pred, mode) if mode in ("train", "val") else None
        metrics = self.compute_metrics(input, target, pred, mode) if mode != "predict" else None
        return self.prepare_output(identifier, input, target, pred, loss, metrics, mode)

    def prepare_batch(self, batch: Any, mode: str) -> tuple[Any, Any, Any]:
        """Return input, target and identifier of a batch."""
        return self._adapt(mode, "batch", batch)  # type: ignore[no-any-return]

    def forward(self, input: Any) -> Any:
        """Call the model, or the inferer where a trainer validates, tests or predicts.

        Several inputs, as a `BatchAdapter` gives them, are passed to the model separately, to an inferer as they are.
        """
        now = {"epoch": self.current_epoch, "step": self.global_step} if self._injected else {}
        injected = {name: now[name] for name in self._injected}
        if self.inferer is not None and self._is_evaluating():
            return self.inferer(input, self.model, **injected)
        if isinstance(input, NamedInputs):
            return self.model(**{**injected, **input})
        inputs = input if isinstance(input, PositionalInputs) else (input,)
        return self.model(*inputs, **injected)

    def _is_evaluating(self) -> bool:
        trainer = trainer_of(self)
        return trainer is not None and (trainer.evaluating or trainer.predicting or trainer.sanity_checking)

    def compute_loss(self, input: Any, target: Any, pred: Any, mode: str) -> Any:
        """Compute the loss: a tensor, or a dict of them with `total`."""
        if self.criterion is None:
            raise ModuleValueError(f"mode {mode} needs a loss function: add `system::criterion`. {_CRITERION_EXAMPLE}")
        return self._adapt(mode, "criterion", self.criterion, input, target, pred)

    def compute_metrics(self, input: Any, target: Any, pred: Any, mode: str) -> Any:
        """Update the metrics of the mode; their values for this batch are computed when they are read."""
        metrics = getattr(self, f"{mode}_metrics")
        return None if metrics is None else self._adapt(mode, "metrics", metrics, input, target, pred)

    def prepare_output(
        self, identifier: Any, input: Any, target: Any, pred: Any, loss: Any, metrics: Any, mode: str
    ) -> dict[str, Any]:
        """Return the output of the step, which callbacks get."""
        input, target, pred = self._adapt(mode, "logging", plain_inputs(input), target, pred)
        return {
            "identifier": identifier,
            "input": input,
            "target": target,
            "pred": pred,
            "loss": loss,
            "metrics": metrics,
            "step": self.global_step,
            "epoch": self.current_epoch,
        }

    def _log_stats(self, loss: Any, metrics: Any, batch_idx: int | None) -> None:
        """Log a step of train, val or test; override it to log more, or something else without `super()`.

        `metrics` are the batch's values by name, computed when they are read. Each argument may be None.
        """
        self._measure.log_step()

    def call_logging_hook(self, outputs: dict[str, Any], batch_idx: int | None) -> None:
        self._log_stats(outputs.get("loss"), outputs.get("metrics"), batch_idx)

    def missing(self, stage: str) -> list[tuple[str, str]]:
        """Return what a stage needs and lacks: key and example."""
        missing = super().missing(stage)
        if stage in ("fit", "validate") and self.criterion is None and type(self).compute_loss is System.compute_loss:
            missing.append(("criterion", _CRITERION_EXAMPLE))
        return missing

    def _adapt(self, mode: str, key: str, *values: Any) -> Any:
        try:
            return self.adapters[mode][key](*values)
        except Exception as error:
            add_note(error, f"in the config, this adapter is {self._adapter(mode, key)}")
            raise

    def _adapter(self, mode: str, key: str) -> str:
        # the config may not have it: then it is one of the defaults
        return f"{'' if (mode, key) in self._given_adapters else 'the default of '}`system::adapters::{mode}::{key}`"


_CRITERION_EXAMPLE = "For example:\n  criterion:\n    _target_: torch.nn.CrossEntropyLoss"
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _check_keys(name: str, given: object, allowed: Collection[str]) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ModuleTypeError(f"`{name}` is a dict by mode ({', '.join(allowed)}); found {describe(given)}")
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise ModuleValueError(f"`{name}` has no `{unknown[0]}`. {nearest(unknown[0], allowed)}")


def _adapters_of(mode: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    _check_keys(f"adapters::{mode}", given, ADAPTERS)
    chosen = {
        "batch": BatchAdapter(None) if mode == "predict" else BatchAdapter(0, 1),
        "criterion": CriterionAdapter(pred_argument=0, target_argument=1),
        "metrics": MetricsAdapter(pred_argument=0, target_argument=1),
        "logging": LoggingAdapter(),
    }
    for key, adapter in (given or {}).items():
        if adapter is None:
            continue
        # those of the criterion and the metrics have one base, and may take each other's place
        others = tuple(other for other in ADAPTERS.values() if not issubclass(other, ADAPTERS[key].__mro__[-2]))
        if not callable(adapter) or isinstance(adapter, others):
            kind = ADAPTERS[key].__name__
            raise ModuleTypeError(f"`adapters::{mode}::{key}` is a lighter.adapters.{kind}; found {describe(adapter)}")
        chosen[key] = adapter
    return chosen
