"""Private names of Lightning's checkpoints: saves and bookkeeping of callbacks, the connector, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from lighter._lightning.aliases import Renamed, alias
from lighter._lightning.versions import IS_TESTED

if TYPE_CHECKING or IS_TESTED:
    from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
else:
    _CheckpointConnector = object  # nobody installs a subclass

# The parts of its state that are about files, and two private attributes.
_BOOKKEEPING = (
    "best_k_models",
    "best_model_path",
    "best_model_score",
    "current_score",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
    "_last_checkpoint_saved",
    "_last_global_step_saved",
)


class CheckpointConnector(Renamed, _CheckpointConnector):
    """Lightning's connector, which chooses a checkpoint and restores from it."""

    # the content of the checkpoint that is being restored
    loaded_checkpoint: dict[str, Any] = alias("_loaded_checkpoint")
    # where it was loaded from
    ckpt_path: str | None = alias("_ckpt_path")
    # the checkpoint that a requeued SLURM job has left, if any
    hpc_resume_path: str | None = alias("_hpc_resume_path")

    if TYPE_CHECKING or IS_TESTED:
        choose = _CheckpointConnector._parse_ckpt_path
        restore_modules_and_callbacks = _CheckpointConnector._restore_modules_and_callbacks


class Guard(Protocol):
    """The calls that a `GuardedCheckpoint` makes around its saves."""

    def attempt(self, trainer: Any, callback: ModelCheckpoint, save: Callable[[], None]) -> None:
        """Call a method that saves, whose file may turn out not to be written."""

    def is_free(self, path: str | Path) -> bool:
        """Return whether a file that exists may be written over."""


class GuardedCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` whose saves are attempts of a guard's. Made by `guarded` of a user's."""

    lighter_guard: ClassVar[Guard]
    lighter_kind: ClassVar[type[ModelCheckpoint]]  # the user's
    lighter_original: ClassVar[ModelCheckpoint]

    @property
    def _legacy_state_key(self) -> type[ModelCheckpoint]:
        return self.lighter_kind

    # private methods: the public hooks save twice, and nothing public stands in between
    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        save = partial(super()._save_topk_checkpoint, trainer, monitor_candidates)
        self.lighter_guard.attempt(trainer, self, save) if self.save_top_k else save()

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        save = partial(super()._save_last_checkpoint, trainer, monitor_candidates)
        self.lighter_guard.attempt(trainer, self, save) if self.save_last else save()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        save = partial(super().on_exception, trainer, pl_module, exception)
        self.lighter_guard.attempt(trainer, self, save) if self.save_on_exception else save()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # the class is of this fit alone: whoever copies or saves the trainer gets the user's callback
        return original_of, (self.lighter_original,)

    def file_exists(self, filepath: str | Path, trainer: Trainer) -> bool:
        return super().file_exists(filepath, trainer) and not self.lighter_guard.is_free(filepath)


def guarded(callback: ModelCheckpoint, guard: Guard) -> ModelCheckpoint:
    """Return a second object with the attributes of a callback, of a subclass of its class with guarded saves."""
    kind = type(callback)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}  # the state's key has the latter
    own = {"lighter_guard": guard, "lighter_kind": kind, "lighter_original": callback}
    subclass = type(kind.__name__, (GuardedCheckpoint, kind), {**names, **own})
    twin: ModelCheckpoint = object.__new__(subclass)
    # shared, so whatever one learns the other knows
    twin.__dict__ = callback.__dict__
    return twin


def original_of(candidate: object) -> object:
    """Return the user's object that a guarded callback stands for; any other object is its own."""
    return candidate.lighter_original if isinstance(candidate, GuardedCheckpoint) else candidate


def bookkeeping_of(callback: ModelCheckpoint) -> dict[str, object]:
    """Return a copy of what a callback knows of its files."""
    return {name: copy(getattr(callback, name)) for name in _BOOKKEEPING}


def restore_bookkeeping(callback: ModelCheckpoint, earlier: dict[str, object]) -> None:
    """Let a callback know no more of its files than it did."""
    for name, value in earlier.items():
        setattr(callback, name, value)


def state_keys(callback: Callback) -> list[object]:
    """Return the keys under which checkpoints have a callback's state, that of earlier Lightnings last."""
    return list(dict.fromkeys((callback.state_key, callback._legacy_state_key)))


def last_step_saved(callback: ModelCheckpoint) -> int:
    """Return the step at which a callback has saved last, which is not in its state."""
    return callback._last_global_step_saved


def save_last_after(callback: ModelCheckpoint, file: str, trainer: Trainer) -> None:
    """Save or link `last`, as if a callback had just saved a file."""
    callback._last_checkpoint_saved = file  # what a link leads to
    callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))


def save_unless_saved(callback: ModelCheckpoint, trainer: Trainer) -> None:
    """Save at the end of a fit, unless a callback has done so at its last step."""
    if trainer.global_step > 0 and not callback._should_skip_saving_checkpoint(trainer):
        callback._save_topk_checkpoint(trainer, callback._monitor_candidates(trainer))


@contextmanager
def training_weights(trainer: Trainer, *, in_validation: bool) -> Iterator[None]:
    """Put the weights that train into the module for as long as this lasts, if averages are in their place."""
    # `WeightAveraging` saves the module's weights as those that train and its own as the averages. Between the first
    # and the last hook of a validation's epoch, in which a signal may stop the fit, it has swapped them. Its private
    # `_swap_models` is all that its hooks do.
    callbacks = [
        one for one in callbacks_of(trainer) if in_validation and isinstance(one, WeightAveraging) and _swaps(one)
    ]
    for callback in callbacks:
        callback._swap_models(trainer.lightning_module)
    try:
        yield
    finally:
        for callback in callbacks:
            callback._swap_models(trainer.lightning_module)


def _swaps(callback: WeightAveraging) -> bool:
    hook = type(callback).on_validation_epoch_start
    return hook is WeightAveraging.on_validation_epoch_start and callback._average_model is not None


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return a trainer's callbacks."""
    # set by the callback connector, so no type checker knows them
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def is_fast_dev_run(trainer: Trainer) -> bool:
    """Return whether a fit is a trial of a few batches, which leaves nothing behind."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def has_shards(trainer: Trainer) -> bool:
    """Return whether each process of a trainer has shards of the module, in the form that is known here."""
    return isinstance(trainer.strategy, ModelParallelStrategy)


def saves_folders(trainer: Trainer) -> bool:
    """Return whether each process saves its shards, rather than the first one a file of all."""
    strategy = trainer.strategy
    return isinstance(strategy, ModelParallelStrategy) and strategy._save_distributed_checkpoint


@contextmanager
def without_first_steps(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Keep torch from stepping optimizers that have no state yet, which it does to save one."""
    # Such a step counts: Adam's correction of its means, and our warm-up, would be one ahead. torch refrains from it
    # where there is a gradient
    parameters = [
        group["params"][0]
        for optimizer in optimizers
        if not optimizer.state and all(one.grad is None for group in optimizer.param_groups for one in group["params"])
        for group in optimizer.param_groups[:1]
    ]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.grad = None


def given_checkpoint_io(trainer: Trainer) -> CheckpointIO | None:
    """Return the `CheckpointIO` that somebody gave the strategy."""
    # the public property would make one
    return trainer.strategy._checkpoint_io


def install_connector(trainer: Trainer, connector: CheckpointConnector) -> None:
    """Replace the connector that chooses and restores checkpoints."""
    # nothing public does
    trainer._checkpoint_connector = connector
