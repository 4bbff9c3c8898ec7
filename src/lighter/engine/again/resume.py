"""`lighter resume`: a fit that goes on in its own folder, with its own loggers' runs."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

from lighter.config import Config, read
from lighter.config.load import Input, is_override, load
from lighter.config.problems import Problem
from lighter.engine.again.changes import ALL, NO_OPTIMIZER, WEIGHTS, refuse_changes
from lighter.engine.again.loggers import CsvFiles, continue_definitions
from lighter.engine.again.state import State, newest_good
from lighter.errors import CheckpointError, ConfigError, RunError
from lighter.parts.allocation import unfilled_memory
from lighter.run import paths
from lighter.run.read import FINISHED, RUNNING, Run, read_run, trusted
from lighter.run.record import saved_form
from lighter.run.secrets import Secrets
from lighter.run.select import find_run

log = logging.getLogger("lighter")

_OF_RANK_ZERO = "LIGHTER_GOES_ON"


@dataclass(frozen=True)
class GoingOn:
    """A fit that goes on, as the runner asks it.

    Attributes:
        run: the run as it was.
        state: the checkpoint that it goes on from.
        take: what of that: one of `TAKES`.
        hyperparameters: names of what is another for the optimizers now.
    """

    run: Run
    state: State
    take: str
    hyperparameters: frozenset[str]

    @property
    def folder(self) -> paths.RunFolder | None:
        """Where it goes on; None for a run that takes the weights alone, whose steps begin anew."""
        return self.run.folder if self.take != WEIGHTS else None

    @property
    def arguments(self) -> dict[str, Any]:
        """For the trainer's method, but for those that the user gives anew."""
        kept = {key: value for key, value in (self.run.facts.get("arguments") or {}).items() if key != "ckpt_path"}
        return kept if self.take == WEIGHTS else {**kept, "ckpt_path": str(self.state.path)}

    @property
    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"run": self.run.id, "checkpoint": str(self.state.path), "take": self.take, "step": self.step}

    def build_trainer(self, objects: Any, build: Callable[[], Any]) -> Any:
        """The trainer, whose loggers go on."""
        if self.take == WEIGHTS:
            return build()
        continue_definitions(objects, self.run, self.state.next_step)
        return CsvFiles(self.run).around(build)

    def prepare(self, module: Any, trainer: Any) -> None:
        """See that the weights fit, and have the trainer take what it is to take.

        Raises:
            CheckpointError: the weights are of another shape.
        """
        _refuse_shapes(self.state, module)
        trainer.callbacks.insert(0, _Takes(self))
        log.info("goes on with %s of %s, from %s, at step %d", self.take, self.run.id, self.state.path.name, self.step)

    @property
    def step(self) -> int:
        """The optimizer's steps that were taken."""
        return int(self.state.content.get("global_step", 0))


class _Takes(Callback):
    """Takes from a checkpoint what was asked for, and lets the changes of the config have effect."""

    def __init__(self, going_on: GoingOn) -> None:
        self.going_on = going_on
        self._fresh: list[list[dict[str, Any]]] = []

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Lightning takes the optimizers' state from here later on."""
        if self.going_on.take == NO_OPTIMIZER:
            checkpoint["optimizer_states"], checkpoint["lr_schedulers"] = [], []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers are there, without their state."""
        if self.going_on.take == WEIGHTS:
            weights_only = self.going_on.arguments.get("weights_only") is not False
            with unfilled_memory():
                content = torch.load(self.going_on.state.path, map_location="cpu", weights_only=weights_only)
            pl_module.load_state_dict(content["state_dict"])
        self._fresh = [[_settings(group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The state is loaded; nothing was trained yet."""
        if self.going_on.take == WEIGHTS:
            return
        state = self.going_on.state
        CsvFiles(self.going_on.run).drop(state, exact=getattr(trainer, "exact_resume", False))
        if hasattr(type(pl_module), "steps_seen"):
            pl_module.steps_seen = state.steps_seen
        if self.going_on.take == ALL and self.going_on.hyperparameters:
            for optimizer, fresh in zip(trainer.optimizers, self._fresh, strict=True):
                configs = trainer.lr_scheduler_configs
                schedulers = [one.scheduler for one in configs if one.scheduler.optimizer is optimizer]
                for index, settings in enumerate(fresh):
                    self._apply(optimizer.param_groups[index], settings, index, schedulers)

    def _apply(self, group: dict[str, Any], fresh: Mapping[str, Any], index: int, schedulers: Sequence[Any]) -> None:
        """Exchange the settings that the config has others for. A schedule goes on, scaled to the new learning rate."""
        for name in self.going_on.hyperparameters & set(group) & set(fresh) - {"lr"}:
            group[name] = fresh[name]
        if "lr" not in self.going_on.hyperparameters:
            return
        before, now = (one.get("initial_lr", one["lr"]) for one in (group, fresh))
        if before != now:
            group["lr"] = group["lr"] * now / before if schedulers and before else now
            if "initial_lr" in group:
                group["initial_lr"] = now
            for scheduler in schedulers:
                if hasattr(scheduler, "base_lrs"):
                    scheduler.base_lrs[index] = now


def run_to_resume(wanted: str | Path, root: Path) -> Run:
    """The run that is meant; `last` is the newest fit.

    Raises:
        RunError: there is none.
    """
    if not paths.is_rank_zero() and _OF_RANK_ZERO in os.environ:
        return read_run(Path(os.environ[_OF_RANK_ZERO]))
    run = trusted(read_run(find_run(wanted, root, accepts=_is_fit, kind="fit").path))
    os.environ[_OF_RANK_ZERO] = str(run.folder.path.absolute())
    return run


def _is_fit(folder: paths.RunFolder) -> bool:
    try:
        return read_run(folder.path).facts.get("stage") == "fit"
    except RunError:
        return False


def going_on(
    run: Run, overrides: Sequence[str], take: str, *, weights_only: bool = True
) -> tuple[GoingOn, list[Input]]:
    """How a run goes on, and the inputs that it goes on with.

    Args:
        weights_only: false if its checkpoints may hold more than weights and plain data, which can run code.

    Raises:
        RunError: it cannot: it is running, or no fit, or finished.
        CheckpointError: it has no checkpoint that can be used.
        ConfigError: its state means nothing with these overrides.
    """
    wrong = [Problem("only overrides are given here: the config is the run's", hint=word) for word in overrides
             if not is_override(word)]  # fmt: skip
    if wrong:
        raise ConfigError(wrong)
    if paths.is_rank_zero():
        _refuse_run(run, overrides)
    if not weights_only:
        arguments = {**(run.facts.get("arguments") or {}), "weights_only": False}
        run = replace(run, facts={**run.facts, "arguments": arguments})
    state = newest_good(run, complete=take != WEIGHTS)
    inputs: list[Input] = [run.folder.config, *overrides]
    before, now = read([run.folder.config]), read(inputs)
    if take == WEIGHTS and now.expanded.find("args::fit::ckpt_path") is not None:
        inputs.append({"args": {"fit": {"ckpt_path": None}}})
    changed = refuse_changes(before, now, take)
    return GoingOn(run, state, take, frozenset(changed)), inputs


def unfinished_fit(config: Config, root: Path, name: str) -> GoingOn | None:
    """The newest fit of this name with the same config, if it stopped before its end and has a checkpoint.

    Raises:
        RunError: it is running.
    """
    if not paths.is_rank_zero():
        folder = os.environ.get(_OF_RANK_ZERO)
        return _with_all(read_run(Path(folder))) if folder else None
    os.environ.pop(_OF_RANK_ZERO, None)
    run = _newest_same(config, root, name)
    if run is None or run.status == FINISHED:
        return None
    if run.status == RUNNING:
        raise RunError(f"{run.id}, the same command, {_running(run)}; two processes cannot share its folder")
    try:
        found = _with_all(run)
    except CheckpointError as error:
        log.info("%s; a new run starts", error)
        return None
    os.environ[_OF_RANK_ZERO] = str(run.folder.path.absolute())
    return found


def _with_all(run: Run) -> GoingOn:
    return GoingOn(run, newest_good(run, complete=True), ALL, frozenset())


def _newest_same(config: Config, root: Path, name: str) -> Run | None:
    saved = _comparable(saved_form(config.merged.plain(), Secrets(config.merged.plain())))
    for folder in paths.runs_of(root, name):
        try:
            run = read_run(folder.path)
            if run.facts.get("stage") == "fit" and _comparable(load([folder.config]).plain()) == saved:
                return run
        except (RunError, ConfigError):
            continue
    return None


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what a run adds, and without where runs go and what they are called."""
    return {key: value for key, value in config.items() if key not in ("project", "run")}


def _refuse_run(run: Run, overrides: Sequence[str]) -> None:
    stage = run.facts.get("stage")
    if stage != "fit":
        raise RunError(f"{run.id} was a {stage}, and only a fit goes on; run it again: lighter reproduce {run.id}")
    if run.status == RUNNING:
        raise RunError(f"{run.id} {_running(run)}")
    if not os.access(run.folder.path, os.W_OK):
        raise RunError(f"{run.folder.path} cannot be written to, and a fit goes on in its folder")
    if run.status == FINISHED and not overrides:
        raise RunError(f"{run.id} is finished. To train for longer: lighter resume {run.id} trainer::max_epochs=NUMBER")


def _running(run: Run) -> str:
    return f"is running (process {run.facts.get('pid')} on {run.facts.get('host')})"


def _refuse_shapes(state: State, module: Any) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    saved = {name: tuple(tensor.shape) for name, tensor in state.content["state_dict"].items()}
    wrong = [name for name in own if name in saved and own[name] != saved[name]]
    if wrong:
        shown = [f"  {name}: {saved[name]} there, {own[name]} here" for name in wrong[:8]]
        more = [f"  ... and {len(wrong) - 8} more"] if len(wrong) > 8 else []
        raise CheckpointError("\n".join([f"the weights of {state.path} are those of another network:", *shown, *more]))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
