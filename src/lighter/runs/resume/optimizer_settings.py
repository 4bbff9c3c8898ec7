"""Apply optimizer settings, a learning rate say, that changed since a checkpoint was saved.

A checkpoint holds the optimizers as they were, and Lightning loads that over whatever the config says now. So each
checkpoint also has the settings with which its optimizers were built. What differs between those and the settings of
now was changed by the user, in the config or in the code; what a schedule or a callback has changed is kept.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from torch import Tensor

from lighter.parts.optimization.lr_schedules import CHECKPOINT_KEY as MANUAL_SCHEDULES
from lighter.runs.record import CHECKPOINT_KEY

log = logging.getLogger("lighter")

Settings: TypeAlias = dict[str, Any]  # of a parameter group

_BUILT = "optimizers"  # in a checkpoint of ours
_SHOWN = 3
_OF_SCHEDULES = ("base_lrs", "unwarmed", "_last_lr")  # learning rates by group, in the states of schedulers


class OptimizerSettings(Callback):
    """Keep the settings with which the optimizers were built, and put those that are new into a checkpoint's state."""

    def __init__(self) -> None:
        self._built: list[list[Settings]] | None = None
        self._checkpoint: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning takes the states from this dict later on; strategies that shard load it only after `on_fit_start`
        self._checkpoint = checkpoint
        if self._built is not None:  # after the optimizers are built, and before their states are loaded
            self._renew(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._built = [[_settings(group) for group in one.param_groups] for one in trainer.optimizers]
        if self._checkpoint is not None:
            self._renew(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._checkpoint = None

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._built is not None:
            plain = [[{k: v for k, v in group.items() if _is_plain(v)} for group in groups] for groups in self._built]
            checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), _BUILT: plain}

    def teardown(self, trainer: pl.Trainer, pl_module: LightningModule, stage: str) -> None:
        self._built = self._checkpoint = None

    def _renew(self, trainer: pl.Trainer) -> None:
        checkpoint, self._checkpoint = self._checkpoint or {}, None
        ours = checkpoint.get(CHECKPOINT_KEY)
        before = ours.get(_BUILT) if isinstance(ours, Mapping) else None
        states = checkpoint.get("optimizer_states") or []
        if before is None:
            _tell_not_renewed(states, self._built or [])
            return
        for number, (state, was, now) in enumerate(zip(states, before, self._built or [], strict=False)):
            schedules = list(_schedules_of(trainer, number, checkpoint))
            for index, groups in enumerate(zip(state["param_groups"], was, now, strict=False)):
                renewed = _renew_group(*groups, index, schedules)
                for name, (old, new) in renewed.items():
                    log.info("optimizer %d, group %d: %s is %s, which was %s", number, index, name, new, old)


def _tell_not_renewed(states: Sequence[Mapping[str, Any]], built: Sequence[Sequence[Settings]]) -> None:
    # nobody knows whether the user or a schedule has changed them, so they are told and not renewed
    differ = [
        f"{name} of optimizer {number}, group {index} stays {_first(saved, name)}, and is not {now[name]}"
        for number, (state, groups) in enumerate(zip(states, built, strict=False))
        for index, (saved, now) in enumerate(zip(state["param_groups"], groups, strict=False))
        for name in now
        if name in saved and _is_plain(now[name]) and _listed(_first(saved, name)) != _listed(now[name])
    ]
    if differ:
        more = f"; and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        log.warning(
            "the checkpoint, of Lightning's or of an earlier version, does not say how its optimizers were built, so"
            " their settings are those that it has: %s. To train with others: lighter resume RUN --take no-optimizer",
            "; ".join(differ[:_SHOWN]) + more,
        )


def _first(saved: Mapping[str, Any], name: str) -> Any:
    # of learning rates, the one that schedules started from: the other is what a schedule has made of it
    return saved.get("initial_lr", saved[name]) if name == "lr" else saved[name]


def _settings(group: Mapping[str, Any]) -> Settings:
    settings = {name: copy.deepcopy(value) for name, value in group.items() if name not in ("params", "param_names")}
    first = settings.pop("initial_lr", settings.get("lr"))
    return settings if first is None else {**settings, "lr": float(first)}


def _is_plain(value: object) -> bool:
    # a checkpoint keeps only these settings, as `weights_only` may refuse to load others
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _renew_group(
    saved: dict[str, Any], was: Settings, now: Settings, index: int, schedules: Sequence[dict[str, Any]]
) -> dict[str, tuple[Any, Any]]:
    renewed = {
        name: (was[name], now[name])
        for name in was
        if name in now and name in saved and _is_plain(now[name]) and _listed(was[name]) != _listed(now[name])
    }
    for name, (old, new) in renewed.items():
        if name == "lr":
            _renew_lr(saved, old, new, index, schedules)
        else:
            saved[name] = new
    return renewed


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _renew_lr(saved: dict[str, Any], was: float, now: float, index: int, schedules: Sequence[dict[str, Any]]) -> None:
    # a schedule resumes where it was, scaled to the new learning rate; without one, the rate is the user's alone
    is_scheduled = "initial_lr" in saved or bool(schedules)

    def scaled(lr: Any) -> Any:
        value = float(lr) * now / was if is_scheduled and was else now
        return lr.new_full((), value) if isinstance(lr, Tensor) else value

    for key in {"lr", "initial_lr"} & saved.keys():
        saved[key] = scaled(saved[key])
    for schedule in schedules:
        for key in _OF_SCHEDULES:
            if index < len(schedule.get(key) or ()):
                schedule[key] = [scaled(lr) if at == index else lr for at, lr in enumerate(schedule[key])]


def _schedules_of(trainer: pl.Trainer, number: int, checkpoint: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    optimizer = trainer.optimizers[number]
    for config, state in zip(trainer.lr_scheduler_configs, checkpoint.get("lr_schedulers") or (), strict=False):
        if getattr(config.scheduler, "optimizer", None) is optimizer:
            yield from _with_inner(state)
    for key, manual in (checkpoint.get(MANUAL_SCHEDULES) or {}).items():
        if key.split("/")[0] == str(number):
            yield from _with_inner(manual["scheduler"])


def _with_inner(state: Any) -> Iterator[dict[str, Any]]:
    if isinstance(state, dict):
        yield state
        # `SequentialLR` and `ChainedScheduler` keep the states of their schedulers there
        for inner in state.get("_schedulers") or ():
            yield from _with_inner(inner)
