"""What is the same on the first three rungs of the ladder: modes, measuring, optimizers.

A `BaseModule` is a LightningModule that holds parts (`lighter.parts`) and calls them at the right moment. It needs no
hook of Lightning's to be called: users may override every hook without calling `super()`.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lighter.config.objects import Deferred
from lighter.errors import ModeError, ModuleTypeError, ModuleValueError, add_note
from lighter.parts.describe import describe
from lighter.parts.finetune import Finetune
from lighter.parts.hooks import ExistsIf, followed_by
from lighter.parts.initial_weights import InitialWeights
from lighter.parts.log_names import at_epoch, at_step, loss_name, metric_name, optimizer_values
from lighter.parts.loss_weights import LossWeights
from lighter.parts.lr_schedules import ManualSchedules
from lighter.parts.materialize import materialize
from lighter.parts.measure import EpochValue, Meter, Metrics, samples_in, scalars, warn_of_repeats
from lighter.parts.optimizer_table import optimizer_table
from lighter.parts.optimizers import OPTIMIZER_EXAMPLE, build_optimizers
from lighter.parts.parameter_groups import as_written
from lighter.parts.predict_tasks import PredictStep, PredictTasks
from lighter.parts.step_output import sort_output
from lighter.trainer.batches import is_there
from lighter.trainer.finite.values import leaves_out
from lighter.trainer.lightning import is_sanity_check, log_again, logging_step, logs_this_step

log = logging.getLogger("lighter")

PREFIXES = ("network.", "model.")  # what the names of parameters may leave out in a config
SHARDING = (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)
FIT_ONLY = {key: {"fit"} for key in ("finetune_cfg", "ckpt_path", "ckpt_match")}
FOLLOWED_BY = {  # hooks of Lightning's, and the method of ours that comes after what a user writes there
    "configure_model": "_prepare",
    "on_load_checkpoint": "_load_schedules",
    "on_train_start": "_start_optimizers",
    "on_save_checkpoint": "_save_schedules",
    "on_predict_start": "_start_predict_tasks",
    "on_predict_end": "_end_predict_tasks",
}
STEPS = {"training_step": "train", "validation_step": "val", "test_step": "test"}
_STAGES = {"train": "train", "validate": "val", "sanity_check": "val", "test": "test", "predict": "predict"}
_ALL_VALUES = "{mode}/values"  # nothing but a process's part in the sums
_METRICS_EXAMPLE = """For example:
  train_metrics:
    accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}
    f1: {_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}"""


class BaseModule(LightningModule):
    """The part that `System`, `ForwardModule` and `LighterModule` share.

    Args:
        criterion: the loss function.
        optimizer: an optimizer, or its definition in the config, or a callable that takes the parameters, or a list.
        scheduler: the same for learning rate schedulers, or Lightning's dict around one.
        train_metrics: a metric, a collection, or a list or dict of metrics; likewise `val_metrics`, `test_metrics`.
        finetune_cfg: which parameters train: a name, a list of names, or `{finetune: bool, params: [...]}`.
        loss_weights: the weights of named losses in their total.
        ckpt_path: checkpoints whose weights are loaded at the start of `fit`; see `InitialWeights`.
        ckpt_match: the share of the weights that each of them must have.
        predict_tasks: names of prediction tasks; see `lighter.parts.predict_tasks`.
    """

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        "optimizer": {"fit"},
        "scheduler": {"fit"},
        "criterion": {"train", "val"},
        "train_metrics": {"train"},
        "val_metrics": {"val"},
        "test_metrics": {"test"},
        **FIT_ONLY,
    }
    """What each constructor argument is needed for: a stage that needs none of it builds the module without it."""

    deferred: ClassVar[Collection[str]] = ("optimizer", "scheduler")
    """Constructor arguments that are handed over as definitions, to be built later."""

    built_on_use: ClassVar[Collection[str]] = ()
    """Constructor arguments that are handed over as definitions, built on use, in stages that do not need them."""

    inherits: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Constructor arguments by mode, and their modes, of which one without an entry takes that of the one before it."""

    measuring: ClassVar[Sequence[str]] = tuple(f"{mode}_metrics" for mode in STEPS.values())
    """The submodules that only measure: nothing in them is trained, and checkpoints may have more of them or fewer."""

    followed_by: ClassVar[Mapping[str, str]] = FOLLOWED_BY

    def __init__(
        self,
        *,
        criterion: Callable[..., Any] | Deferred | None = None,
        optimizer: Any = None,
        scheduler: Any = None,
        train_metrics: Any = None,
        val_metrics: Any = None,
        test_metrics: Any = None,
        finetune_cfg: Any = None,
        loss_weights: Mapping[str, float] | None = None,
        ckpt_path: Any = None,
        ckpt_match: float = 0.0,
        predict_tasks: Sequence[str] | str | None = None,
    ) -> None:
        super().__init__()
        self._predict_tasks = PredictTasks(predict_tasks, type(self))
        self._initial_weights = InitialWeights(ckpt_path, ckpt_match) if ckpt_path is not None else None
        self._finetune = Finetune(finetune_cfg) if finetune_cfg is not None else None
        self._loss_weights = LossWeights(loss_weights) if loss_weights is not None else None
        self._late: dict[str, Deferred] = {}
        if isinstance(criterion, Deferred):
            self._late["criterion"] = criterion
        else:
            self.criterion = criterion
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._schedules = ManualSchedules()
        self._meters: dict[tuple[str, int], Meter] = {}
        self._in_step = False
        prepared: list[Metrics] = []
        for mode, given in {"train": train_metrics, "val": val_metrics, "test": test_metrics}.items():
            metrics = prepare_metrics(given, f"{mode}_metrics")
            if metrics is not None:
                # one object for two modes would mix their states
                metrics = metrics.clone() if any(metrics is other for other in prepared) else metrics
                prepared.append(metrics)
            setattr(self, f"{mode}_metrics", metrics)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, mode in STEPS.items():
            step = inspect.getattr_static(cls, name)  # of this class, or of a mixin before BaseModule
            if _is_written(step, name) and (name in cls.__dict__ or not hasattr(step, "unmeasured")):
                setattr(cls, name, measured(getattr(step, "unmeasured", step), mode, name))
        for name, after in cls.followed_by.items():
            hook = inspect.getattr_static(cls, name)  # of this class, or of a mixin before BaseModule
            if inspect.isfunction(hook) and not hasattr(hook, "followed_by"):
                setattr(cls, name, followed_by(hook, after))
        step = inspect.getattr_static(cls, "predict_step")
        if not isinstance(step, PredictStep):
            cls.predict_step = PredictStep(step)  # type: ignore[assignment, method-assign]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: all but the measuring, the optimizers and the hooks of a run that is not the copy's."""
        afresh = {"_meters": {}, "_in_step": False, "_schedules": ManualSchedules(), "_hooks_running": set()}
        return {**super().__getstate__(), **afresh}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets `_current_fx_name` twice around every hook: some forty times a step, which nn.Module's
        # search for parameters and submodules would make the dearest part of its bookkeeping
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__.get("_modules")
        if modules is not None and name in modules:  # what steps ask for; nn.Module looks for parameters first
            return modules[name]
        late = self.__dict__.get("_late")
        if late and name in late:
            built = late.pop(name).build()
            setattr(self, name, built.to(self.device) if isinstance(built, nn.Module) else built)
            return built
        return super().__getattr__(name)

    @property
    def mode(self) -> str:
        """What is running: `train`, `val` (the sanity check included), `test` or `predict`.

        Raises:
            ModeError: outside a trainer's run.
        """
        trainer = self._trainer
        stage = trainer.state.stage if trainer is not None else None
        if stage is None:
            raise ModeError(
                "`mode` is known only while a trainer runs this module (trainer.fit, validate, test or predict);"
                " none does now"
            )
        return _STAGES[stage.value]

    @property
    def steps_seen(self) -> dict[str, int]:
        """The steps that were measured, by mode and number of the dataloader: `val/0`. What goes on starts there."""
        return {f"{mode}/{loader}": meter.steps_seen for (mode, loader), meter in self._meters.items()}

    @steps_seen.setter
    def steps_seen(self, steps: Mapping[str, int]) -> None:
        for key, seen in steps.items():
            mode, _, loader = key.partition("/")
            self._meter(mode, int(loader)).steps_seen = seen

    def measuring_state(self) -> dict[str, Any]:
        """What the training epoch has measured so far, for a checkpoint in its midst."""
        return {str(loader): meter.state_dict() for loader, meter in self._training_meters()}

    def load_measuring_state(self, state: Mapping[str, Any]) -> None:
        """Go on with an epoch's measuring."""
        for loader, saved in state.items():
            self._meter("train", int(loader)).load_state_dict(saved, self.device)

    def epoch_values(self) -> dict[str, Metric]:
        """What Lightning was given of the training epoch, by the names that it was given."""
        given: dict[str, Metric] = {}
        for _, meter in self._training_meters():
            for name, value in meter.epoch_values.items():
                given[at_epoch("train", name) if name else _ALL_VALUES.format(mode="train")] = value
        return given

    def idle_metrics(self) -> list[Metric]:
        """The metrics of which no training epoch is being measured: whatever uses them next begins anew."""
        measured = [meter.metrics for _, meter in self._training_meters() if meter.metrics is not None]
        busy = {id(module) for metrics in measured for module in metrics.modules()}
        parts = [part for name in type(self).measuring if isinstance(part := getattr(self, name, None), nn.Module)]
        inside = [module for part in parts for module in part.modules() if id(module) not in busy]
        return [module for module in inside if isinstance(module, Metric)]

    def _training_meters(self) -> list[tuple[int, Meter]]:
        return [(loader, meter) for (mode, loader), meter in self._meters.items() if mode == "train" and meter.is_open]

    def count_samples(self, batch: Any) -> int | None:
        """The number of samples in a batch, by which its losses weigh in the epoch's mean; None if it cannot be told.

        Override it for batches of a type of your own. By default it is the first dimension of the first tensor found
        in lists, tuples, dicts and dataclasses.
        """
        return samples_in(batch)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on the device; at once where all of it is there already, tensors or text."""
        items = batch.values() if type(batch) is dict else batch if isinstance(batch, (list, tuple)) else ()
        if items and all(is_there(item, device) for item in items):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    # Lightning is not to take it for the user's, which would stand against that of a data module
    functools.update_wrapper(transfer_batch_to_device, LightningModule.transfer_batch_to_device, assigned=())

    def _prepare(self) -> None:
        """Prepare the network before the strategy takes it: weights, if it has none yet, and for `fit` the rest."""
        trainer = self._trainer
        if trainer is None:
            return
        # strategies that shard make the weights themselves, each process its part; not over those of a checkpoint
        if not isinstance(trainer.strategy, SHARDING):
            materialize(self, trainer.strategy.root_device)
        elif self._initial_weights is not None:
            materialize(self, torch.device("cpu"))
        if trainer.state.fn != "fit":
            return
        self._schedules.load(None)
        if self._initial_weights is not None:
            for report in self._initial_weights.load(self._own_weights(), PREFIXES):
                log.info("%s", report)
            self._initial_weights = None  # another fit goes on from what this one trains
        if self._finetune is not None:
            named = list(self.named_parameters())
            frozen = self._finetune.apply(named, PREFIXES)
            trains = sum(parameter.requires_grad for _, parameter in named)
            log.info("finetune_cfg: %d parameters frozen, %d train", len(frozen), trains)

    def _own_weights(self) -> dict[str, Tensor]:
        """The weights of the network: all but those of the criterion and the metrics."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith(self.aside)}

    @property
    def aside(self) -> tuple[str, ...]:
        """How the names begin of what is not of the network: the criterion, the metrics."""
        return tuple(f"{part}." for part in ("criterion", *self.measuring))

    def _start_predict_tasks(self) -> None:
        step = inspect.getattr_static(type(self), "predict_step")
        self._predict_tasks.start(self, step.step_of(self))
        if self._predict_tasks.run is not None:
            log.info("prediction tasks write to %s", self._predict_tasks.run.folder)

    def _end_predict_tasks(self) -> None:
        self._predict_tasks.end()

    def configure_optimizers(self) -> Any:
        """Build the optimizers and schedulers from what `optimizer` and `scheduler` are."""
        if self.optimizer is None:
            raise ModuleValueError(f"{type(self).__name__} has no optimizer, and `fit` needs one. {OPTIMIZER_EXAMPLE}")
        self._schedules.release()
        configured, schedules = build_optimizers(self.optimizer, self.scheduler, self._named(), prefixes=PREFIXES)
        self._schedules.set(schedules)
        return configured

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that optimizers may have, with their names."""
        aside = tuple(f"{part}." for part in self.measuring)
        return [(as_written(name), p) for name, p in self.named_parameters() if not name.startswith(aside)]

    def _start_optimizers(self) -> None:
        """Let manual schedules go on where the checkpoint was, now that the optimizers do; and say what trains."""
        trainer = self.trainer
        for message in self._schedules.restore(trainer.optimizers):
            log.info("%s", message)
        if log.isEnabledFor(logging.INFO):  # a table takes some milliseconds
            table = optimizer_table(
                trainer.optimizers, self._named(), PREFIXES, trainer.lr_scheduler_configs, self._schedules
            )
            log.info("%s", table)

    def _load_schedules(self, checkpoint: Mapping[str, Any]) -> None:
        trainer = self._trainer  # none where Lightning only loads weights
        if trainer is not None and trainer.state.fn == "fit":
            self._schedules.load(checkpoint)

    def _save_schedules(self, checkpoint: dict[str, Any]) -> None:
        self._schedules.save(checkpoint)

    def missing(self, stage: str) -> list[tuple[str, str]]:
        """The constructor arguments that a stage needs and that were not given, each with an example."""
        default = type(self).configure_optimizers is BaseModule.configure_optimizers
        return [("optimizer", OPTIMIZER_EXAMPLE)] if stage == "fit" and self.optimizer is None and default else []

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, whatever stage saved them: criterion and metrics that are not built here are left out."""
        own, aside = self.state_dict(), tuple(f"{part}." for part in self.measuring)
        state = {key: value for key, value in state_dict.items() if key in own or not key.startswith(aside)}
        state |= {key: value for key, value in own.items() if key.startswith(aside) and key not in state}
        if getattr(self, "criterion", None) is None:
            state = {key: value for key, value in state.items() if not key.startswith("criterion.")}
        return super().load_state_dict(state, strict=strict, assign=assign)

    def _measure_step(self, mode: str, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a user's step, and measure what it returned and did to the metrics."""
        trainer = self._trainer
        needs_loss = mode == "train" and self.automatic_optimization
        if trainer is None or trainer.barebones:
            output = step(self, *args, **kwargs)
            return sort_output(output, step.__name__, needs_loss=needs_loss, weights=self._loss_weights).returned
        batch_idx = kwargs.get("batch_idx", args[1] if len(args) > 1 else None)
        loader_idx = kwargs.get("dataloader_idx", args[2] if len(args) > 2 else 0)
        meter = self._meters.get((mode, loader_idx))
        if meter is None or not meter.is_open or batch_idx == 0:
            meter = self._begin_epoch(mode, loader_idx)
        wanted = self._is_read(mode, batch_idx)
        meter.begin_step(wanted=wanted)
        try:
            returned = step(self, *args, **kwargs)
        except TypeError as error:
            self._explain_none(error, mode)
            raise
        finally:
            batch_values = meter.end_step()
        output = sort_output(returned, step.__name__, needs_loss=needs_loss, weights=self._loss_weights)
        if output.losses and not (mode == "train" and leaves_out(trainer, output.losses)):
            meter.add(output.losses, self._weight(args[0] if args else kwargs.get("batch")))
        new_names = meter.new_names()
        if new_names:
            self._announce(meter, mode, new_names)
        if wanted:
            self._log_step(meter, mode, loader_idx, output.losses, batch_values)
        meter.steps_seen += mode == "train" or not is_sanity_check(trainer)
        return output.returned

    def _weight(self, batch: Any) -> int:
        samples = self.count_samples(batch)
        if samples is None:
            rank_zero_warn(
                f"the number of samples in {describe(batch)} cannot be told, so each such batch counts as one in the"
                f" means of losses. Override `count_samples(self, batch)` in {type(self).__name__}."
            )
        return 1 if samples is None else samples

    def _meter(self, mode: str, loader_idx: int) -> Meter:
        metrics = getattr(self, f"{mode}_metrics")
        meter = self._meters.get((mode, loader_idx))
        if meter is None or meter.metrics is not metrics:
            meter = self._meters[mode, loader_idx] = Meter(metrics)
        return meter

    def _begin_epoch(self, mode: str, loader_idx: int) -> Meter:
        trainer, meter = self.trainer, self._meter(mode, loader_idx)
        meter.start()
        if trainer.world_size > 1:  # every process takes part in the sums of the epoch, whatever its own steps return
            self._log_epoch_value(_ALL_VALUES.format(mode=mode), meter.epoch_value(""), shown=False)
        if mode == "train":
            self._publish(dict(optimizer_values(trainer.optimizers)), logging_step(trainer), for_callbacks=True)
        elif trainer.world_size > 1:
            loaders = trainer.val_dataloaders if mode == "val" else trainer.test_dataloaders
            warn_of_repeats(loaders, loader_idx, trainer.world_size)
        return meter

    def _explain_none(self, error: TypeError, mode: str) -> None:
        """A step that calls what the config leaves out gets told which keys those are."""
        absent = [part for part in ("criterion", f"{mode}_metrics") if getattr(self, part, None) is None]
        if absent and "'NoneType' object is not callable" in str(error):
            add_note(error, f"the config has no `{'` and no `'.join(absent)}`; a step that uses it needs it")

    def _is_read(self, mode: str, batch_idx: int | None) -> bool:
        """Whether anybody sees the values of the step that is about to run."""
        trainer: Any = self.trainer
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
        if not log_again(self.trainer, self._current_fx_name, name, value):
            self.log(name, value, on_step=False, on_epoch=True, prog_bar=shown, batch_size=1, metric_attribute=name)

    def _log_step(
        self, meter: Meter, mode: str, loader_idx: int, losses: Mapping[str, Tensor], batch_values: Any
    ) -> None:
        """Give the values of this step to the loggers and the progress bar: the one transfer to the host."""
        values = {loss_name(name): loss for name, loss in losses.items()}
        if meter.metrics is not None and batch_values is not None:
            values |= {metric_name(name): value for name, value in scalars(meter.metrics, batch_values).items()}
        if not values:
            return
        trainer = self.trainer
        several = {"train": 1, "val": len(trainer.num_val_batches), "test": len(trainer.num_test_batches)}[mode] > 1
        suffix = f"/dataloader_idx_{loader_idx}" if several else ""
        device = next(iter(values.values())).device
        numbers = torch.stack([value.detach().float().to(device) for value in values.values()]).tolist()
        row = {at_step(mode, name) + suffix: number for name, number in zip(values, numbers, strict=True)}
        step = logging_step(trainer) if mode == "train" else meter.steps_seen
        self._publish(row, step, for_callbacks=mode == "train")
        if mode == "train":
            trainer.progress_bar_metrics.update({name: number for name, number in row.items() if "/loss/" in name})

    def _publish(self, row: Mapping[str, float], step: int, *, for_callbacks: bool) -> None:
        trainer = self.trainer
        tensors = {name: torch.tensor(number, dtype=torch.float64) for name, number in row.items()}
        trainer.logged_metrics.update(tensors)
        if for_callbacks:
            trainer.callback_metrics.update(tensors)
        for logger in trainer.loggers:
            logger.log_metrics({**row, "epoch": trainer.current_epoch}, step=step)


def prepare_metrics(given: Any, name: str) -> Metrics | None:
    """Metrics as the config or the user gives them: one, a collection, or a list or dict of metrics.

    Raises:
        ModuleTypeError: anything else.
    """
    if given is None or isinstance(given, (Metric, MetricCollection)):
        return given
    members = given.values() if isinstance(given, Mapping) else given if isinstance(given, (list, tuple)) else [given]
    for member in members:
        if not isinstance(member, (Metric, MetricCollection)):
            where = "" if member is given else f" among {name}'s members"
            raise ModuleTypeError(
                f"`{name}` takes a torchmetrics.Metric, a MetricCollection, or a list or dict of metrics; "
                f"found a {type(member).__name__}{where}. {_METRICS_EXAMPLE}"
            )
    return MetricCollection(dict(given) if isinstance(given, Mapping) else list(given)) if members else None


def measured(step: Any, mode: str, name: str) -> Callable[..., Any]:
    """A user's step that is measured when Lightning calls it, and plain when another step of the class calls it."""
    plain = step if inspect.isfunction(step) else _called_as_method(step, name)

    @functools.wraps(plain)
    def measured_step(self: BaseModule, *args: Any, **kwargs: Any) -> Any:
        state = vars(self)
        if state["_in_step"]:
            return plain(self, *args, **kwargs)
        state["_in_step"] = True
        try:
            return self._measure_step(mode, plain, args, kwargs)
        finally:
            state["_in_step"] = False

    written = inspect.unwrap(plain)
    written.__signature__ = inspect.signature(written)  # Lightning asks at every step
    measured_step.__name__ = name
    measured_step.__wrapped__ = written  # Lightning looks one level deep
    measured_step.unmeasured = step  # type: ignore[attr-defined]
    return measured_step


def _called_as_method(step: Any, name: str) -> Callable[..., Any]:
    """A function that does what some other descriptor does, a partialmethod say."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return step.__get__(self, type(self))(*args, **kwargs)

    call.__name__ = name
    return call


def _is_written(step: Any, name: str) -> bool:
    """Whether a step is somebody's, and neither Lightning's own nor one that exists only sometimes."""
    own = inspect.getattr_static(LightningModule, name)
    return step is not own and not isinstance(step, ExistsIf) and not getattr(step, "is_missing", False)
