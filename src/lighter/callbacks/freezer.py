"""`Freezer`: freeze parameters until some step or epoch, or for the whole run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytorch_lightning as pl
from pytorch_lightning import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lighter.base import PREFIXES, BaseModule
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.optimization.parameter_groups import as_written
from lighter.parts.optimization.parameter_names import shortened_names
from lighter.parts.weights.freezing import Choice, Frozen, Inventory, Name, Until

log = logging.getLogger("lighter")

Names: TypeAlias = str | int | Sequence[str | int]  # a Sequential's modules are called 0, 1, ...
_EXAMPLE = "For example: {_target_: lighter.callbacks.Freezer, names: backbone, until_epoch: 3}"
_SCHEDULE_EXAMPLE = "For example: {_target_: lighter.callbacks.Freezer, schedule: {0: head, 3: layer4}}"


class Freezer(Callback):
    """Freezes parameters during `fit`, until a step or an epoch or for the whole run.

    A name is that of a module or a parameter as `named_parameters()` spells it: inside `network` (or `model`) of a
    `LighterModule` and a `System`, inside the module itself of a plain `LightningModule`. What is frozen has no
    gradient, so optimizers leave it alone, their momentum and weight decay included. Normalization layers that are
    frozen as a whole are in eval mode, and keep their running statistics. Dropout stays as it is.
    Parameters that the Freezer did not freeze, your own frozen ones included, stay as they are. Parameters that are
    frozen when the run ends stay frozen.

    Args:
        names: modules (with all that is in them) and parameters to freeze, by their whole names; or patterns
            of names, as in parameter groups.
        name_starts_with: likewise, by how their names begin: `layer` is layer1, layer2, ...; `""` is everything.
        except_names: modules and parameters that are not frozen nevertheless.
        except_name_starts_with: likewise, by how their names begin, beside `except_names`.
        until_step: the number of optimizer steps (`trainer.global_step`) after which they train.
        until_epoch: the epoch, counted from 0, from which on they train. With `until_step` too, whichever is first.
        schedule: gradual thawing: names by the epoch from which on they train. The longest of several names that
            cover a parameter counts; what none covers stays frozen. Without `names` and `name_starts_with`
            everything is frozen until the schedule thaws it.

    Raises:
        ModuleTypeError: an argument of the wrong type.
        ModuleValueError: none of `names`, `name_starts_with` and `schedule`; `schedule` with `until_*`.
        MisfitError: at the start of `fit`: a name that matches nothing; nothing to freeze, or nothing to train; a
            strategy other than one device and DDP.
    """

    def __init__(
        self,
        names: Names | None = None,
        name_starts_with: Names | None = None,
        except_names: Names | None = None,
        except_name_starts_with: Names | None = None,
        until_step: int | None = None,
        until_epoch: int | None = None,
        schedule: Mapping[int, Names] | None = None,
    ) -> None:
        if names is None and name_starts_with is None:
            if schedule is None:
                raise ModuleValueError(f"a Freezer needs `names` or `name_starts_with`, and has neither. {_EXAMPLE}")
            name_starts_with = ""
        if schedule is not None and (until_step is not None or until_epoch is not None):
            raise ModuleValueError("a Freezer takes `schedule`, or `until_step` and `until_epoch`, and has both")
        self._choice = Choice(
            chosen=_names("names", names) + _names("name_starts_with", name_starts_with, is_prefix=True),
            excepted=_names("except_names", except_names)
            + _names("except_name_starts_with", except_name_starts_with, is_prefix=True),
            until=Until(_count("`until_step`", until_step), _count("`until_epoch`", until_epoch)),
            schedule=_schedule(schedule),
        )
        self._frozen: list[Frozen] = []
        self._thawed: list[Frozen] = []  # of which it was not seen yet that an optimizer has them
        self._changed = False

    def until(self, parameter: Parameter) -> str | None:
        """Say until when this Freezer keeps a parameter frozen, `until epoch 3` say; None if it does not freeze it."""
        return next((str(group.until) for group in self._frozen if id(parameter) in group.taken), None)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # here, as the optimizers are built by now and hold what trains later
        model = trainer.strategy.model
        if model is not pl_module and not isinstance(model, DistributedDataParallel):
            raise MisfitError(
                f"a Freezer works on one device and with `strategy: ddp`; {type(trainer.strategy).__name__} keeps"
                " parameters in a form of its own"
            )
        inventory = Inventory(pl_module)
        if isinstance(pl_module, BaseModule):
            inventory = Inventory(pl_module, PREFIXES, pl_module.aside)
        # at every fit, as the network may have been changed since the last one
        self._frozen = self._choice.groups(inventory)
        self._freeze(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # here, as the step and the epoch of a resumed run are known by now; they say what is due, so we save no state
        for group in self._thaw_due(trainer):
            log.info("Freezer: trains from the start: %s", group)
        for group in self._frozen:
            log.info("Freezer: frozen %s: %s", group.until, group)
        trains = any(parameter.requires_grad for parameter in pl_module.parameters())
        if self is _freezers(trainer)[-1] and pl_module.automatic_optimization and not trains:
            raise MisfitError("Freezer: all parameters are frozen at the start, so there is nothing to train")
        self._settle(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._advance(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == 0:  # other callbacks may have changed what trains in this epoch
            self._freeze(trainer)
        self._advance(trainer)
        thawed, self._thawed = self._thawed, []  # by now, a callback that adds them to an optimizer has done so
        if thawed and trainer.optimizers:
            _warn_of_idle(pl_module, thawed, trainer.optimizers)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # the parameters stay frozen, marked so that a Freezer of a later run knows that it was not the user
        groups, self._frozen, self._thawed, self._changed = self._frozen, [], [], False
        for group in groups:
            group.leave()

    def _freeze(self, trainer: pl.Trainer) -> None:
        others, step, epoch = self._taken_by_others(trainer), trainer.global_step, trainer.current_epoch
        for group in self._frozen:
            if not group.until.is_past(step, epoch):
                self._changed |= group.freeze(others)

    def _advance(self, trainer: pl.Trainer) -> None:
        for group in self._thaw_due(trainer):
            log.info("Freezer: epoch %d, step %d: thawed: %s", trainer.current_epoch, trainer.global_step, group)
        self._settle(trainer)

    def _thaw_due(self, trainer: pl.Trainer) -> list[Frozen]:
        if not self._frozen:
            return []
        step, epoch = trainer.global_step, trainer.current_epoch
        due = [group for group in self._frozen if group.until.is_past(step, epoch)]
        if due:
            self._frozen = [group for group in self._frozen if group not in due]
            others = self._taken_by_others(trainer)
            for group in due:
                self._changed |= group.release(others)
            self._thawed += due
        return due

    def _settle(self, trainer: pl.Trainer) -> None:
        # before every batch, as any code may call `train()`, which has normalization layers change their statistics
        for group in self._frozen:
            group.hold_layers()
        freezers = _freezers(trainer)
        # DDP decides what to synchronize when it wraps the module. It wraps it again after a change, once for several
        # Freezers, so that frozen parameters cost neither a backward pass nor communication there either.
        if self is freezers[-1] and any(freezer._changed for freezer in freezers):
            strategy = trainer.strategy
            if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
                strategy.model = strategy.lightning_module
                strategy.configure_ddp()
            for freezer in freezers:
                freezer._changed = False

    def _taken_by_others(self, trainer: pl.Trainer) -> set[int]:
        others = [freezer for freezer in _freezers(trainer) if freezer is not self]
        return {item for freezer in others for group in freezer._frozen for item in group.taken}


def _freezers(trainer: pl.Trainer) -> list[Freezer]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, Freezer)]


def _warn_of_idle(module: nn.Module, thawed: Sequence[Frozen], optimizers: Sequence[Optimizer]) -> None:
    # an optimizer has only what it was built with
    known = {id(item) for one in optimizers for group in one.param_groups for item in group["params"]}
    idle = {id(item) for group in thawed for item in group.parameters if item.requires_grad} - known
    named = [(as_written(name), id(item)) for name, item in module.named_parameters()]
    names = [name for name, item in named if item in idle]
    if names:
        log.warning(
            "Freezer: thawed, and yet no optimizer has them, so they do not train: %s. Give the optimizer all"
            " parameters, those too that are frozen when it is built.",
            shortened_names(names, [name for name, _ in named], PREFIXES),
        )


def _names(argument: str, given: object, *, is_prefix: bool = False) -> list[Name]:
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    # a Sequential's modules are called 0, 1, ...
    if any(isinstance(name, bool) or not isinstance(name, (str, int)) for name in listed):
        raise ModuleTypeError(f"`{argument}` is a name or a list of names; found {describe(given)}. {_EXAMPLE}")
    if given is not None and not listed:
        raise ModuleValueError(f"`{argument}` has no name in it. {_EXAMPLE}")
    return [Name(str(name), is_prefix) for name in listed]


def _count(argument: str, given: object, example: str = _EXAMPLE) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise ModuleTypeError(f"{argument} is a whole number; found {describe(given)}. {example}")
    if given < 0:
        raise ModuleValueError(f"{argument} counts from 0; found {given}. {example}")
    return given


def _schedule(given: object) -> dict[Name, int]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise ModuleTypeError(f"`schedule` is names by epochs; found {describe(given)}. {_SCHEDULE_EXAMPLE}")
    epochs: dict[Name, int] = {}
    for key, names in given.items():
        written = int(key) if isinstance(key, str) and key.isdecimal() else key  # an override's keys are text
        epoch = _count("an epoch of `schedule`", written, _SCHEDULE_EXAMPLE) or 0
        for name in _names(f"schedule::{key}", names):
            if epochs.setdefault(name, epoch) != epoch:
                raise ModuleValueError(f"`schedule` has `{name}` twice, at epochs {epochs[name]} and {epoch}")
    return epochs
