"""One experiment twice: from YAML through Lighter's `Runner`, and by hand in plain Lightning.

The plain side reads the YAML with PyYAML and calls what `_target_` names. It knows nothing of Lighter.
"""

from __future__ import annotations

import pydoc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import Logger

from lighter import Runner
from lighter.trainer import OWN_ARGUMENTS

TRAINERS = {
    "Lightning's trainer": {"_target_": "pytorch_lightning.Trainer"},
    "lighter.Trainer": {"_target_": "lighter.Trainer", "exact_resume": False},  # Lightning's random numbers
}
DATA = {"_target_": "tests.lightning.jobs.Digits"}
TRAINER = {
    "max_epochs": 2,
    "accelerator": "cpu",
    "log_every_n_steps": 1,
    "logger": {"_target_": "tests.lightning.compare.Rows"},
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SEED = 5


class Rows(Logger):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.hparams: Any = None

    name, version = "rows", 0

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, {name: float(value) for name, value in metrics.items()}))

    def log_hyperparams(self, params, *args, **kwargs):
        self.hparams = params

    def column(self, name: str) -> list[tuple[int | None, float]]:
        """The values of one name, with their steps."""
        return [(step, row[name]) for step, row in self.rows if name in row]


@dataclass
class Run:
    """What an experiment came to."""

    module: Any
    trainer: Any
    result: Any
    folder: Path
    events: list[Any] = field(default_factory=list)

    @property
    def rows(self) -> list[tuple[int | None, dict[str, float]]]:
        return self.trainer.logger.rows if isinstance(self.trainer.logger, Rows) else []

    def column(self, name: str) -> list[tuple[int | None, float]]:
        return self.trainer.logger.column(name)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.module.state_dict()

    @property
    def values(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}


def config_of(text: str, trainer: str = "lighter.Trainer") -> dict[str, Any]:
    """An experiment: what the YAML says, and for the rest small defaults."""
    config = {"seed": SEED, "data": DATA, **yaml.safe_load(text)}
    config["trainer"] = {**TRAINERS[trainer], **TRAINER, **(config.get("trainer") or {})}
    return config


def with_lighter(config: dict[str, Any], stage: str = "fit", **arguments: Any) -> Run:
    """Write the config to a file and run that."""
    path = Path("job.yaml")
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    outcome = Runner().execute(stage, [path], **arguments)
    trainer = outcome.trainer
    module = trainer.lightning_module
    return Run(module, trainer, outcome.result, outcome.folder.path, list(getattr(module, "events", [])))


def by_hand(config: dict[str, Any], stage: str = "fit", **arguments: Any) -> Run:
    """The same with nothing but Lightning."""
    folder = Path("by-hand")
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    module, data = make(config["model"]), make(config["data"])
    given = {key: value for key, value in config["trainer"].items() if key not in OWN_ARGUMENTS}
    written = {"default_root_dir": str(folder), **given, "_target_": "pytorch_lightning.Trainer"}
    trainer = make(written)
    result = getattr(trainer, stage)(module, datamodule=data, **arguments)
    return Run(module, trainer, result, folder, list(getattr(module, "events", [])))


def make(value: Any) -> Any:
    """The object that a definition stands for."""
    if isinstance(value, dict):
        made = {key: make(child) for key, child in value.items() if key != "_target_"}
        return pydoc.locate(value["_target_"])(**made) if "_target_" in value else made
    return [make(child) for child in value] if isinstance(value, list) else value


def same(ours: Run, plain: Run) -> None:
    """Equal parameters, optimizers and schedulers, equal logged values at equal steps, equal results and events.

    Values are compared bit for bit; NaN equals NaN.
    """
    assert ours.module is not plain.module
    assert equal(ours.weights, plain.weights), "parameters differ"
    for name in ("optimizers", "lr_schedulers"):
        assert equal(states(ours, name), states(plain, name)), f"{name} differ"
    assert (ours.trainer.global_step, ours.trainer.current_epoch) == (
        plain.trainer.global_step,
        plain.trainer.current_epoch,
    )
    assert equal(ours.values, plain.values), f"{ours.values} is not {plain.values}"
    assert equal(ours.rows, plain.rows), "logged values differ"
    assert equal(ours.result, plain.result)
    assert equal(ours.events, plain.events), f"{ours.events} is not {plain.events}"


def states(run: Run, kind: str) -> list[Any]:
    """The states of the optimizers or the schedulers."""
    if kind == "optimizers":
        return [optimizer.state_dict() for optimizer in run.trainer.optimizers]
    states = [entry.scheduler.state_dict() for entry in run.trainer.lr_scheduler_configs]
    return [{key: value for key, value in state.items() if not callable(value)} for state in states]


def equal(one: Any, other: Any) -> bool:
    """Whether two nested values are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(one) == len(other)
            and all(equal(a, b) for a, b in zip(one, other, strict=True))
        )
    return bool(one == other or (one != one and other != other))
