"""Plan how a fit resumes: the state that it takes, checked against the module and the trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import Timer
from torch.nn.parameter import is_lazy

from lighter._lightning.callbacks import is_search
from lighter.base import BaseModule
from lighter.config.objects import Objects
from lighter.config.safe import SafeMode
from lighter.errors import CheckpointError, RunError
from lighter.files.run_folder import RunFolder
from lighter.parts.optimization.lr_schedules import CHECKPOINT_KEY as MANUAL_SCHEDULES
from lighter.runs.read import Run
from lighter.runs.resume.config_changes import NO_OPTIMIZER, WEIGHTS
from lighter.runs.resume.logger_arguments import CsvFiles, continue_definitions
from lighter.runs.resume.saved_state import State
from lighter.trainer import Trainer

log = logging.getLogger("lighter")


@dataclass(frozen=True)
class ResumePlan:
    run: Run  # as it was
    state: State  # the checkpoint that it resumes from
    take: str  # what of that: one of `TAKES`
    weights_only: bool = True  # false if this command says that its checkpoint may hold objects
    safe: SafeMode | None = None  # the mode that the command asks for

    @property
    def folder(self) -> RunFolder | None:
        # a run that takes the weights alone begins its steps anew, in a folder of its own
        return self.run.folder if self.take != WEIGHTS else None

    @property
    def arguments(self) -> dict[str, Any]:
        # none is taken from the run's record, whose author need not be trusted
        asked = {} if self.weights_only else {"weights_only": False}
        return asked if self.take == WEIGHTS else {**asked, "ckpt_path": str(self.state.path)}

    @property
    def facts(self) -> dict[str, Any]:
        return {"run": self.run.id, "checkpoint": str(self.state.path), "take": self.take, "step": self.step}

    @property
    def step(self) -> int:
        """The optimizer's steps that were taken."""
        return int(self.state.content.get("global_step", 0))

    @property
    def csv_files(self) -> CsvFiles:
        return CsvFiles(self.run, None if self.safe is None else [*self.safe.roots, self.run.folder.path.resolve()])

    def build_trainer(self, objects: Objects, build: Callable[[], pl.Trainer]) -> pl.Trainer:
        if self.take == WEIGHTS:
            return build()
        continue_definitions(objects, self.run, self.state.next_step)
        return self.csv_files.around(build)

    def prepare(self, module: LightningModule, trainer: pl.Trainer) -> None:
        """See that weights and limits fit, and have the trainer take what it is to take.

        Raises:
            CheckpointError: the weights are of another shape.
            RunError: the trainer is to do less than was done.
        """
        _refuse_shapes(self.state, module)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if self.take != WEIGHTS:
            _refuse_limits(self.state, trainer, callbacks, self.run.id)
        # a search for a learning rate or a batch size would run once more; `Trainer`'s own loops see to that
        if self.take != WEIGHTS and not isinstance(trainer, Trainer):
            callbacks = [callback for callback in callbacks if not is_search(callback)]
        trainer.callbacks = [_TakesState(self), *callbacks]  # type: ignore[attr-defined]
        log.info("resumes with %s of %s, from %s, at step %d", self.take, self.run.id, self.state.path.name, self.step)


class _TakesState(Callback):
    def __init__(self, plan: ResumePlan) -> None:
        self.plan = plan

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # emptied in place, as Lightning takes the optimizers' states from this dict later on
        if self.plan.take == NO_OPTIMIZER:
            checkpoint |= {"optimizer_states": [], "lr_schedulers": [], MANUAL_SCHEDULES: {}}
            if isinstance(pl_module, BaseModule):
                pl_module.begin_schedules()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        if self.plan.take == WEIGHTS:
            from lighter.trainer.checkpointing.sharded_reading import load_weights  # torch.distributed.checkpoint

            load_weights(trainer, self.plan.state.path, weights_only=self.plan.weights_only)

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        if self.plan.take == WEIGHTS:
            return
        # rows are dropped only now that the state is loaded: a resume that fails before leaves the files as they were
        state = self.plan.state
        self.plan.csv_files.drop(state, trainer, exact=isinstance(trainer, Trainer) and trainer.exact_resume)
        if isinstance(pl_module, BaseModule):
            pl_module.steps_seen = dict(state.counts("steps_seen"))


def _refuse_shapes(state: State, module: LightningModule) -> None:
    ours, saved = _shapes(module.state_dict()), _shapes(state.content["state_dict"])
    wrong = [name for name in ours if name in saved and ours[name] != saved[name]]
    if wrong:
        shown = [f"  {name}: {saved[name]} there, {ours[name]} here" for name in wrong[:8]]
        more = [f"  ... and {len(wrong) - 8} more"] if len(wrong) > 8 else []
        raise CheckpointError("\n".join([f"the weights of {state.path} are those of another network:", *shown, *more]))


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    # neither extra state nor the weights of lazy layers, which take any, have a shape
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor) and not is_lazy(value)}
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _refuse_limits(state: State, trainer: pl.Trainer, callbacks: Sequence[Callback], run: str) -> None:
    # with a limit that is passed already, the fit would fail, or end without a word
    epochs = int(state.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    timers = (one for key, one in (state.content.get("callbacks") or {}).items() if key == "Timer")
    seconds = max((one["time_elapsed"].get("train", 0.0) for one in timers), default=0)
    # a timer does not yet know the time that it took before
    limits = (one.time_remaining() for one in callbacks if isinstance(one, Timer))
    done_and_limit = {
        "max_epochs": (epochs, trainer.max_epochs, "epochs"),
        "max_steps": (int(state.content.get("global_step", 0)), trainer.max_steps, "steps"),
        "max_time": (int(seconds), int(min(filter(None, limits), default=-1)), "seconds"),
    }
    saved = state.content.get("lighter", {}).get("config") or {}
    limit_then = (saved.get("trainer") or {}).get("max_steps")  # which a last batch of several steps passes
    wrong = [
        f"{run} has trained {done} {unit} by {state.path.name}, and trainer::{name} is {limit} {unit}. "
        f"To train for longer, give it more than {done}: lighter resume {run} trainer::{name}=..."
        for name, (done, limit, unit) in done_and_limit.items()
        if limit is not None and 0 <= limit < done and not (name == "max_steps" and limit == limit_then)
    ]
    if wrong:
        raise RunError("\n".join(wrong))
