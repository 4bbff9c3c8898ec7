"""`BaseModule`: the common base of the first three rungs of the ladder, with modes, measuring, weights and optimizers.

It is a LightningModule that holds parts (`lighter.parts`) and calls them at the right moment. It needs none of
Lightning's hooks: users may override every hook without calling `super()`. All that speaks Lightning is in this one
class, so the file is longer than others.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torchmetrics import Metric

from lighter._lightning.modules import CURRENT_HOOK, trainer_of
from lighter.config.deferred import Deferred
from lighter.config.prune import unneeded
from lighter.errors import CheckpointError, ModeError, ModuleValueError
from lighter.files.storage import is_remote
from lighter.parallel.strategy import ParallelStrategy
from lighter.parts.batches import is_on, samples_in
from lighter.parts.hooks import OverriddenIf, followed_by, is_marked
from lighter.parts.metrics.foreign import states_in
from lighter.parts.metrics.groups import prepare_metrics
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.metrics.measured_steps import STEPS, measure_steps
from lighter.parts.metrics.measuring import Measuring
from lighter.parts.optimization.lr_schedules import ManualSchedule, ManualSchedules
from lighter.parts.optimization.optimizers import OPTIMIZER_EXAMPLE, ModuleOptimizers, configuring
from lighter.parts.optimization.parameter_groups import as_written, renamed_as_in
from lighter.parts.optimization.parameter_types import NamedParameters
from lighter.parts.optimization.table import optimizer_table
from lighter.parts.prediction.tasks import PredictStep, PredictTasks
from lighter.parts.proxy import wrapped_by
from lighter.parts.uncalled import refuse_uncalled
from lighter.parts.weights.finetune import Finetune
from lighter.parts.weights.initial_weights import InitialWeights
from lighter.parts.weights.materialize import has_no_weights, materialize

log = logging.getLogger("lighter")

PREFIXES = ("network.", "model.")  # what the names of parameters may leave out in a config
SHARDING = (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)
FIT_ONLY = {key: {"fit"} for key in ("optimizer", "scheduler", "finetune_cfg", "ckpt_path", "ckpt_match")}
FOLLOWED_BY = {  # Lightning's hooks, each with the method of ours that runs after the user's override of it
    "configure_callbacks": "_prepare_for_averages",
    "setup": "_prepare_after_setup",
    "configure_model": "_prepare",
    "on_load_checkpoint": "_load_schedules",
    "on_train_start": "_start_optimizers",
    "on_save_checkpoint": "_save_schedules",
    **{f"on_{stage}_epoch_end": "_end_epoch" for stage in ("train", "validation", "test")},
    "on_predict_start": "_start_predict_tasks",
    "on_predict_end": "_end_predict_tasks",
}
_STAGES = {"train": "train", "validate": "val", "sanity_check": "val", "test": "test", "predict": "predict"}


def _configure_model(self: BaseModule) -> None:
    """Do nothing: `_prepare` follows."""


_configure_model.__name__ = "configure_model"


def _is_configured(module: BaseModule) -> bool:
    return has_no_weights(module) or _parallel_strategy(module) is not None


def _parallel_strategy(module: BaseModule) -> ParallelStrategy | None:
    strategy = getattr(trainer_of(module), "strategy", None)
    return strategy if isinstance(strategy, ParallelStrategy) else None


_CONFIGURE_MODEL = OverriddenIf(followed_by(_configure_model, FOLLOWED_BY["configure_model"]), _is_configured)


class BaseModule(LightningModule):
    """The common base of `System`, `ForwardModule` and `LighterModule`, which documents the arguments."""

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        **FIT_ONLY,
        "criterion": {"train", "val"},
        **{f"{mode}_metrics": {mode} for mode in ("train", "val", "test")},
    }
    """The stages that need each constructor argument; others build the module without it."""

    deferred: ClassVar[Collection[str]] = ("optimizer", "scheduler")
    """Constructor arguments that are passed as definitions, to be built later."""

    built_on_use: ClassVar[Collection[str]] = ()
    """Constructor arguments that are passed as definitions, built on use, in stages that do not need them."""

    inherits: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Constructor arguments by mode, and their modes, of which one without an entry takes that of the one before it."""

    measuring: ClassVar[Sequence[str]] = tuple(f"{mode}_metrics" for mode in STEPS.values())
    """The submodules that only measure: nothing in them is trained, and checkpoints may have more of them or fewer."""

    followed_by: ClassVar[Mapping[str, str]] = FOLLOWED_BY

    logging_hook: ClassVar[str] = ""
    """The method that users override to log other things in a step than Lighter does."""

    overridden_instead: ClassVar[Mapping[str, str]] = {}
    """Methods of upstream's modules that Lighter does not call, each with the method to override instead."""

    pruned: AbstractSet[str] = frozenset()
    """Constructor arguments of a subclass that this module was built without, as its stage does not need them."""

    def __init__(
        self,
        *,
        criterion: Callable[..., Any] | Deferred | None = None,
        optimizer: object = None,
        scheduler: object = None,
        train_metrics: object = None,
        val_metrics: object = None,
        test_metrics: object = None,
        finetune_cfg: object = None,
        loss_weights: Mapping[str, float] | None = None,
        ckpt_path: object = None,
        ckpt_match: float = 0.0,
        predict_tasks: Sequence[str] | str | None = None,
    ) -> None:
        super().__init__()
        refuse_uncalled(type(self), self.overridden_instead)
        measure_steps(type(self))  # a decorator of the class may have replaced one
        self._predict_tasks = PredictTasks(predict_tasks, type(self))
        self._initial_weights = InitialWeights(ckpt_path, ckpt_match) if ckpt_path is not None else None
        self._finetune = Finetune(finetune_cfg) if finetune_cfg is not None else None
        self._loss_weights = LossWeights(loss_weights) if loss_weights is not None else None
        self._late: dict[str, Deferred] = {}
        if isinstance(criterion, Deferred):
            # not set as an attribute, so that `__getattr__` builds it on first use
            self._late["criterion"] = criterion
        else:
            self.criterion = criterion
        self._module_optimizers = ModuleOptimizers()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._schedules = ManualSchedules()
        self._measure = Measuring(self, self._loss_weights)
        prepared: set[int] = set()
        for mode, metric in {"train": train_metrics, "val": val_metrics, "test": test_metrics}.items():
            metrics = prepare_metrics(metric, f"{mode}_metrics")
            # one object for two modes would mix their states
            if metrics is not None:
                objects = set(map(id, states_in(metrics)))
                metrics = metrics.clone() if objects & prepared else metrics
                prepared |= objects
            setattr(self, f"{mode}_metrics", metrics)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        measure_steps(cls)
        for name, after in cls.followed_by.items():
            hook = inspect.getattr_static(cls, name)  # of this class, or of a mixin before BaseModule
            if inspect.isfunction(hook) and not is_marked(hook, "is_followed"):
                setattr(cls, name, followed_by(hook, after))
        configure = inspect.getattr_static(cls, "configure_optimizers")
        if inspect.isfunction(configure) and not hasattr(configure, "builds_on_use"):
            cls.configure_optimizers = configuring(configure)  # type: ignore[method-assign]
        step = inspect.getattr_static(cls, "predict_step")
        if not isinstance(step, PredictStep):
            cls.predict_step = PredictStep(step)  # type: ignore[assignment, method-assign]

    def __getstate__(self) -> dict[str, Any]:
        # a copy is of no run: it has no trainer, and its optimizers would hold the original's parameters
        empty: dict[str, Any] = {"_measure": None, "_schedules": ManualSchedules(), "_hooks_running": set()}
        return {**super().__getstate__(), **empty}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._measure = Measuring(self, self._loss_weights)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets `CURRENT_HOOK` twice around every hook: some forty times a step, which nn.Module's
        # search for parameters and submodules would make the dearest part of its bookkeeping
        if name == CURRENT_HOOK:
            object.__setattr__(self, name, value)
        elif name in ("optimizer", "scheduler") and self._module_optimizers.takes(name, value):
            self.__dict__.pop(name, None)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        measure: Measuring | None = self.__dict__.get("_measure")
        if measure is not None and name in measure.step_metrics:
            return measure.step_metrics[name]
        modules = self.__dict__.get("_modules")
        # before nn.Module's own search, which begins with parameters: steps ask mostly for submodules
        if modules is not None and name in modules:
            return modules[name]
        late = self.__dict__.get("_late")
        if late and name in late:
            built = late.pop(name).build()
            setattr(self, name, built.to(self.device) if isinstance(built, nn.Module) else built)
            return built
        if name in ("optimizer", "scheduler") and "_module_optimizers" in self.__dict__:
            return self._build_optimizer(name)
        return super().__getattr__(name)

    def _build_optimizer(self, name: str) -> Any:
        optimizers = self._module_optimizers
        # a user's `configure_optimizers` may read `self.optimizer` before `super()` has built it
        if name not in optimizers.built and optimizers.is_configuring:
            optimizers.build_optimizer(self.__dict__, self._named(), PREFIXES)
            if name == "scheduler":
                self._configure()
        if name not in optimizers.built:
            raise optimizers.not_built(name)
        return optimizers.built[name]

    @property
    def mode(self) -> str:
        """The mode that runs: `train`, `val` (the sanity check included), `test` or `predict`.

        Raises:
            ModeError: no trainer runs this module.
        """
        trainer = trainer_of(self)
        stage = trainer.state.stage if trainer is not None else None
        if stage is None:
            raise ModeError(
                "`mode` is known only while a trainer runs this module (trainer.fit, validate, test or predict);"
                " none does now"
            )
        return _STAGES[stage.value]

    def call_logging_hook(self, outputs: dict[str, Any], batch_idx: int | None) -> None:
        """Call the method that `logging_hook` names with what a step returned."""

    @property
    def steps_seen(self) -> dict[str, int]:
        """The number of measured steps by mode and dataloader, `val/0`, from which a resumed run continues."""
        return self._measure.steps_seen

    @steps_seen.setter
    def steps_seen(self, steps: Mapping[str, int]) -> None:
        self._measure.steps_seen = steps

    def measuring_state(self) -> dict[str, Any]:
        """Return what the training epoch has measured so far, for a checkpoint in the middle of it."""
        return self._measure.state_dict()

    def load_measuring_state(self, state: Mapping[str, Any]) -> None:
        self._measure.load_state_dict(state)

    def epoch_values(self) -> Mapping[str, Metric]:
        """Return the metrics that Lightning was given for the training epoch, by their logged names."""
        return self._measure.epoch_values()

    def idle_metrics(self) -> list[Metric]:
        """Return the metrics that no training epoch is using: they are reset before they are used next."""
        busy = {id(module) for metrics in self._measure.busy_metrics() for module in metrics.modules()}
        roots = [root for name in self.measuring if isinstance(root := getattr(self, name, None), nn.Module)]
        modules = [module for root in roots for module in root.modules() if id(module) not in busy]
        return [module for module in modules if isinstance(module, Metric)]

    def log(self, name: str, value: object, *args: Any, **kwargs: Any) -> None:
        """Log a value as Lightning does, which has to get the module's own metrics and not a step's view of them."""
        super().log(name, wrapped_by(value), *args, **kwargs)

    def _end_epoch(self) -> None:
        self._measure.end_epoch(self.mode)

    def count_samples(self, batch: Any) -> int | None:
        """Count the samples in a batch, by which its losses weigh in the epoch's mean; None if that cannot be told.

        Override it for batches of a type of your own. By default it is the first dimension of the first tensor in
        lists, tuples, dicts and dataclasses; a warning says so if others have another first dimension.
        """
        return samples_in(batch)

    count_samples.is_default = count_samples  # type: ignore[attr-defined]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device, unless all of it is there already, tensors or text."""
        items = batch.values() if type(batch) is dict else batch if isinstance(batch, (list, tuple)) else ()
        if items and all(is_on(item, device) for item in items):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    # Lightning must not take it for the user's, which would conflict with that of a data module
    functools.update_wrapper(transfer_batch_to_device, LightningModule.transfer_batch_to_device, assigned=())

    configure_model = _CONFIGURE_MODEL

    def _prepare_for_averages(self) -> None:
        # callbacks that average the weights copy the network in their `setup`. Without weights by then, they would
        # call `configure_model` themselves, and warn that it may shard the network
        trainer = trainer_of(self)
        if trainer is None or isinstance(trainer.strategy, SHARDING):
            return
        is_ours = isinstance(inspect.getattr_static(type(self), "configure_model"), OverriddenIf)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if is_ours and any(isinstance(callback, WeightAveraging) for callback in callbacks):
            materialize(self, trainer.strategy.root_device)

    def _prepare_after_setup(self, stage: str) -> None:
        # a user's `configure_model` is called next and may make more of the network, so `_prepare` follows that
        # instead
        if not is_overridden("configure_model", self):
            self._prepare()

    def _prepare(self) -> None:
        trainer = trainer_of(self)
        if trainer is None:
            return
        strategy = _parallel_strategy(self)
        if strategy is not None and self._initial_weights is not None:
            strategy.fill(self)
        self._prepare_weights(trainer)
        if strategy is not None:
            strategy.divide(self, PREFIXES)

    def _prepare_weights(self, trainer: Trainer) -> None:
        # strategies that shard make the weights themselves, each process its part; not over those of a checkpoint
        if not isinstance(trainer.strategy, SHARDING):
            materialize(self, trainer.strategy.root_device)
        elif self._initial_weights is not None:
            materialize(self, torch.device("cpu"))
        if trainer.state.fn != "fit":
            return
        self._schedules.load(None)
        if self._initial_weights is not None:
            # of the network alone: extra state is no tensor, and metrics begin as they are
            weights = {key: value for key, value in self.state_dict().items() if isinstance(value, Tensor)}
            own = {key: value for key, value in weights.items() if not key.startswith(self.aside)}
            for report in self._initial_weights.load(own, PREFIXES):
                log.info("%s", report)
            self._initial_weights = None  # another fit continues from the weights that this one trains
        if self._finetune is not None:
            named = list(self.named_parameters())
            frozen = self._finetune.apply(named, PREFIXES)
            trains = sum(parameter.requires_grad for _, parameter in named)
            log.info("finetune_cfg: %d parameters frozen, %d train", len(frozen), trains)

    @property
    def aside(self) -> tuple[str, ...]:
        """Prefixes of the names that are not of the network: of the criterion and the metrics."""
        return tuple(f"{name}." for name in ("criterion", *self.measuring))

    def _start_predict_tasks(self) -> None:
        step = inspect.getattr_static(type(self), "predict_step")
        self._predict_tasks.start(self, step.step_of(self))
        if self._predict_tasks.run is not None:
            log.info("prediction tasks write to %s", self._predict_tasks.run.folder)

    def _end_predict_tasks(self) -> None:
        self._predict_tasks.end()

    @configuring
    def configure_optimizers(self) -> Any:
        """Build the optimizers and schedulers from what `optimizer` and `scheduler` are."""
        if not self._has_optimizer():
            raise ModuleValueError(f"{type(self).__name__} has no optimizer, and `fit` needs one. {OPTIMIZER_EXAMPLE}")
        return self._configure()

    def _configure(self) -> Any:
        self._schedules.release()
        trainer = trainer_of(self)
        # only now: a process that was started by `spawn` got the definitions without the trainer
        if trainer is not None:
            self._module_optimizers.provide("trainer", trainer)
            self._module_optimizers.check_steps(trainer)
        configured, schedules = self._module_optimizers.configured(self.__dict__, self._named(), PREFIXES)
        self._schedules.set(schedules)
        return configured

    def _has_optimizer(self) -> bool:
        optimizers: ModuleOptimizers | None = self.__dict__.get("_module_optimizers")
        is_defined = optimizers is not None and "optimizer" in optimizers.definitions
        return is_defined or self.__dict__.get("optimizer") is not None

    def _named(self) -> NamedParameters:
        # nothing in a metric is trained
        aside = tuple(f"{name}." for name in self.measuring)
        named = [(as_written(name), p) for name, p in self.named_parameters() if not name.startswith(aside)]
        return NamedParameters(named, self)

    def _start_optimizers(self) -> None:
        # not earlier: manual schedules change learning rates, which the optimizers' own states would replace
        trainer = self.trainer
        self._measure.begin_fit()
        for message in self._schedules.restore(trainer.optimizers):
            log.info("%s", message)
        if log.isEnabledFor(logging.INFO):  # a table takes some milliseconds
            table = optimizer_table(
                trainer.optimizers,
                self._named(),
                PREFIXES,
                trainer.lr_scheduler_configs,
                self._schedules,
                automatic=self.automatic_optimization,
            )
            log.info("%s", table)

    def _load_schedules(self, checkpoint: Mapping[str, Any]) -> None:
        # Lightning also calls the hook to load weights, without a trainer, and to evaluate, without optimizers
        trainer = trainer_of(self)
        if trainer is not None and trainer.state.fn == "fit":
            self._schedules.load(checkpoint)

    def begin_schedules(self) -> None:
        """Let manual schedules start from the beginning, whatever a checkpoint has of them."""
        self._schedules.load(None)

    def manual_schedules(self) -> Sequence[ManualSchedule]:
        """Return the schedules that step with their optimizer, unknown to Lightning."""
        return [schedule for optimizer in self.trainer.optimizers for schedule in self._schedules.of(optimizer)]

    def _save_schedules(self, checkpoint: dict[str, Any]) -> None:
        self._schedules.save(checkpoint)

    def missing(self, stage: str) -> list[tuple[str, str]]:
        """Return the constructor arguments that a stage needs and that are missing, each with an example."""
        default = type(self).configure_optimizers is BaseModule.configure_optimizers
        return [("optimizer", OPTIMIZER_EXAMPLE)] if stage == "fit" and not self._has_optimizer() and default else []

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a module with its weights, built from the config in the checkpoint; as Lightning does without one.

        The device is the CPU without `map_location`. Keyword arguments of the module replace the config's.
        `weights_only=False` also loads objects, which can run code while they are loaded.

        Raises:
            CheckpointError: the checkpoint cannot be used, or its config builds a module of another class.
            ConfigError: the config builds no module any more.
        """
        from lighter import load_checkpoint  # by the root package, as the engine is a layer above this one

        only_weights = weights_only is not False
        loaded = None
        if isinstance(checkpoint_path, (str, os.PathLike)) and not is_remote(checkpoint_path):
            path = Path(checkpoint_path)
            loaded = load_checkpoint(path, arguments=kwargs, strict=strict, weights_only=only_weights)
        if loaded is None:
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only=only_weights, **kwargs
            )
        if not isinstance(loaded, cls):
            raise CheckpointError(f"{checkpoint_path} is of a {type(loaded).__name__}, which is no {cls.__name__}")
        return loaded if map_location is None else loaded.to(map_location)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, whatever stage saved them: those of parts that are not built here are left out."""
        own, aside = self.state_dict(), tuple(f"{name}." for name in self.measuring)
        # from here on, each line allows one difference between the stage that saved and the one that loads
        state = renamed_as_in(own, state_dict)
        state = {key: value for key, value in state.items() if key in own or not self._may_lack(key)}
        of_others = tuple(f"{name}." for name, uses in self.needed_for.items() if unneeded({name: uses}, "fit"))
        state |= {
            key: value for key, value in own.items() if f"{key}.".startswith(aside + of_others) and key not in state
        }
        if getattr(self, "criterion", None) is None:
            state = {key: value for key, value in state.items() if not key.startswith("criterion.")}
        return super().load_state_dict(state, strict=strict, assign=assign)

    def _may_lack(self, key: str) -> bool:
        # a fit's checkpoint has weights of its metrics and its criterion, which other stages may be built without
        first, *inner = key.split(".")
        # not by `getattr`, which would build what is built on use
        is_held = any(
            held.get(first) is not None for held in (vars(self), self._modules, self._buffers, self._parameters)
        )
        if first in self.measuring or (first in self.needed_for and not is_held and first != "criterion"):
            return True
        return bool(self.pruned) and (not is_held or not self.pruned.isdisjoint(inner))
