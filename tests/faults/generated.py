"""Draws jobs: a rung, features of its module, callbacks, dataloaders and settings of the trainer, by a seed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.faults.generated_parts import FEATURES, HOOKS, MONITORS, SCHEDULERS, UNSAVED
from tests.faults.jobs import KEEP_CUTS, SERVED, SIGNAL_AT, START

HERE = "tests.faults.generated_parts"
OF_LIGHTNING = "pytorch_lightning.callbacks"
PROMISES, CALLS = "promises.txt", "calls.txt"

# of this process, and not of the fit: what a callback keeps in attributes is looked at
_calls: Counter[str] = Counter()
_said: list[str] = []
_seen: list[Any] = []


def begin_process() -> None:
    """Forget what a process counted that this one was forked from."""
    _calls.clear()
    _said.clear()
    _seen.clear()


class Notes(pl.Callback):
    """Notes what each start promises and each batch that was served; keeps the folder; sends its process a signal.

    A signal comes with the n-th call of a hook, `SIGKILL 17`; the folder is kept whenever a checkpoint was saved.
    """

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        _note(f"{SERVED}.0", START)

    def _call(self, trainer: Any, moment: str) -> None:
        if trainer.sanity_checking:
            return
        if not _said:
            _said.append(str(trainer.resume_choice))
            _note(PROMISES, _said[0])
        _calls["all"] += 1
        if not trainer.async_save:  # a folder that changes while it is copied is not as a kill would leave it
            _keep(Path(trainer.default_root_dir), f"{_calls['all']:03d}-{moment}")
        name, at = os.environ.get(SIGNAL_AT, "- 0").split()
        if _calls["all"] == int(at):
            os.kill(os.getpid(), signal.Signals[name])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "epoch_start")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._call(trainer, "batch_start")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "backward")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        _note(f"{SERVED}.0", f"train {trainer.current_epoch} {batch_idx} {_sums(batch)} {_sums(outputs)}")
        self._call(trainer, "batch")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "val_start")

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            place = f"{trainer.current_epoch} {trainer.global_step} {dataloader_idx} {batch_idx}"
            _note(f"{SERVED}.0", f"val {place} {_sums(batch)}")
        self._call(trainer, "val_batch")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "val_end")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "epoch_end")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._call(trainer, "end")
        _note(CALLS, str(_calls["all"]))


def _note(file: str, line: str) -> None:
    with Path(file).open("a") as notes:
        notes.write(f"{line}\n")


def _sums(values: Any) -> list[str]:
    return [float(leaf.double().sum()).hex() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _keep(run: Path, name: str) -> None:
    """All that is there, as a kill would leave it."""
    if KEEP_CUTS not in os.environ:
        return
    files = sorted((path.name, path.stat().st_mtime_ns) for path in run.glob("checkpoints/*"))
    if files and [files] != _seen:
        _seen[:] = [files]
        shutil.copytree(Path.cwd(), Path(os.environ[KEEP_CUTS], name), symlinks=True)


def draw(seed: int) -> dict[str, Any]:
    """The config of a job."""
    drawn = random.Random(seed)
    rung = drawn.choice(["plain", "plain", "manual", "lighter", "forward", "system"])
    data, vals = _data(drawn, rung)
    monitor = MONITORS.get(rung, "val/loss") + ("/dataloader_idx_0" if vals > 1 else "")
    trainer, validates = _trainer(drawn, rung)
    if "stream" in data["kind"]:  # whose length Lightning does not know
        for name in ("limit_train_batches", "val_check_interval"):
            if isinstance(trainer.get(name), float):
                del trainer[name]
    features = drawn.sample(sorted(FEATURES), drawn.randint(1, 5))
    if drawn.random() < 0.2:
        features.append(drawn.choice(sorted(UNSAVED)))
    schedulers = [None, *(name for name in SCHEDULERS if name != "plateau by step" or rung == "plain")]
    module = {
        "_target_": f"{HERE}.module",
        "rung": rung,
        "features": features,
        "optimizer": drawn.choice(["sgd", "adam"]),
        "scheduler": drawn.choice([one for one in schedulers if validates or one != "plateau"]),
        "monitor": monitor,
    }
    trainer["callbacks"] = _callbacks(drawn, rung, monitor if validates else None)
    targets = {one["_target_"].rpartition(".")[2] for one in trainer["callbacks"]}
    if rung == "manual" or "Thaws" in targets:  # some schedulers take no new group of parameters
        module["scheduler"] = None
    if "GradientAccumulationScheduler" in targets:
        trainer.pop("accumulate_grad_batches", None)  # Lightning takes one of them
    config = {"seed": seed, "trainer": trainer}
    if rung == "system":
        return {**config, "system": {**module, "data": data}}
    return {**config, "model": module, "data": data}


def _data(drawn: random.Random, rung: str) -> tuple[dict[str, Any], int]:
    kinds = ["shuffled", "shuffled", "in order", "batch sampler", "weighted", "stream", "stream with state",
             "stateful", "remembers"]  # fmt: skip
    vals = drawn.choice([[False], [True], [False, True], [True, False]])
    mode = drawn.choice([None] * 5 + ["dict", "min_size", "max_size", "max_size_cycle"])
    of_one = rung in ("forward", "system")
    kind = drawn.choice(kinds)
    data = {
        "_target_": f"{HERE}.Data",
        "kind": kind,
        "mode": None if of_one else mode,
        # what a dataset remembers in a worker is not known, as docs/09 says
        "workers": drawn.choice([0, 0, 0, 0, 0 if kind == "remembers" else 1]),
        "persistent": drawn.random() < 0.5,
        "vals": vals,
        "counts": rung != "system" and drawn.random() < 0.2,
    }
    return data, len(vals)


def _trainer(drawn: random.Random, rung: str) -> tuple[dict[str, Any], bool]:
    """Settings, and whether there is a validation in each epoch."""
    trainer: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 3,
        "log_every_n_steps": drawn.choice([1, 2, 3]),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings: list[dict[str, Any]] = [
        {"precision": drawn.choice(["bf16-mixed", "64-true", "bf16-true"])},
        {"reload_dataloaders_every_n_epochs": drawn.choice([1, 2])},
        {"limit_train_batches": drawn.choice([4, 0.5])},
        {"limit_val_batches": drawn.choice([2, 0.7])},
        {"max_steps": drawn.choice([8, 11]), "max_epochs": -1},
        {"num_sanity_val_steps": 0},
        {"min_epochs": 2},
        {"async_save": True},
        {"on_non_finite": "continue"},
    ]
    if rung != "manual":
        settings += [
            {"accumulate_grad_batches": drawn.choice([2, 3, 4])},
            {"gradient_clip_val": drawn.choice([0.1, 1])},
        ]
    for setting in drawn.sample(settings, drawn.choice([0, 1, 1, 2, 3])):
        trainer |= setting
    validation: dict[str, Any] = drawn.choice(
        [{}, {}, {"val_check_interval": 2}, {"val_check_interval": 0.5}, {"check_val_every_n_epoch": 2},
         {"val_check_interval": 5, "check_val_every_n_epoch": None}]
    )  # fmt: skip
    return {**trainer, **validation}, "check_val_every_n_epoch" not in validation


def _callbacks(drawn: random.Random, rung: str, monitor: str | None) -> list[dict[str, Any]]:
    network = "model" if rung in ("forward", "system") else "network"
    own = [{"_target_": f"{HERE}.{name}"} for name in ("CountsSteps", "HasState", "SetsModule", "LogsItself")]
    own.append({"_target_": f"{HERE}.Stops", "after": drawn.choice([2, 3])})
    others: list[dict[str, Any]] = [
        {"_target_": f"{OF_LIGHTNING}.LearningRateMonitor"},
        {"_target_": f"{HERE}.saves_at", "hook": drawn.choice(HOOKS), "every": drawn.choice([1, 2, 3])},
    ]
    if monitor is not None:
        others.append({"_target_": f"{OF_LIGHTNING}.EarlyStopping", "monitor": monitor, "strict": False,
                       "patience": drawn.choice([0, 1]), "min_delta": 0.1})  # fmt: skip
    if rung != "manual":
        others += [
            {"_target_": f"{OF_LIGHTNING}.EMAWeightAveraging", "decay": 0.8},
            {"_target_": f"{OF_LIGHTNING}.GradientAccumulationScheduler", "scheduling": {1: 2}},
            {
                "_target_": "lighter.callbacks.Freezer",
                "names": [f"{network}.0"],
                "until_step": drawn.choice([3, 7]),
            },
            {"_target_": f"{HERE}.Thaws"},
        ]
    chosen = [*drawn.sample(own, drawn.choice([0, 1, 2])), *drawn.sample(others, drawn.choice([0, 1, 1, 2]))]
    if any(one.get("hook") == "on_train_batch_start" for one in chosen):  # what others log in that hook comes again
        chosen = [one for one in chosen if not one["_target_"].endswith("LearningRateMonitor")]
    drawn.shuffle(chosen)
    return [{"_target_": "tests.faults.generated.Notes"}, *chosen, *_checkpoints(drawn, monitor)]


def _checkpoints(drawn: random.Random, monitor: str | None) -> list[dict[str, Any]]:
    """None, so that the default ones are there, or some."""
    target = {"_target_": f"{OF_LIGHTNING}.ModelCheckpoint"}
    choices: list[dict[str, Any]] = [
        {"filename": "step", "every_n_train_steps": drawn.choice([1, 2, 3]), "enable_version_counter": False},
        {"filename": "s{step}", "every_n_train_steps": 2, "save_top_k": -1},
        {"filename": "e{epoch}", "save_last": drawn.choice([True, "link"]), "every_n_epochs": drawn.choice([1, 2])},
        {"filename": "end", "save_on_train_epoch_end": True},
    ]
    if monitor is not None:
        top = {"monitor": monitor, "save_top_k": drawn.choice([1, 2]), "mode": drawn.choice(["min", "max"])}
        choices.append({"filename": "top-{step}", **top, "save_last": drawn.choice([True, False])})
    chosen = drawn.sample(choices, drawn.choice([0, 1, 2, 2]))
    if len({_state_key(one) for one in chosen}) < len(chosen):  # which Lightning refuses
        chosen = chosen[:1]
    return [{**target, **one} for one in chosen]


def _state_key(arguments: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one ModelCheckpoint of Lightning's from another in a checkpoint."""
    steps, epochs = arguments.get("every_n_train_steps"), arguments.get("every_n_epochs")
    return arguments.get("monitor"), arguments.get("mode"), steps, epochs or (None if steps else 1)
