"""A fit that goes on in its own folder, moved or not, leaves the files that it would have left had it never stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint
from torch.utils.data import DataLoader

import lighter
from lighter.files.run_folder import RunFolder
from lighter.processes.signals import Stopped
from lighter.runs.checkpoint_files import Checkpoints
from lighter.trainer.checkpointing.earlier_starts import LeftOver
from tests.slow import one_in
from tests.trainer.checkpointing.jobs import At, Scored, checkpoint, files, trainer

SCORES = [5.0, 4.0, 4.5, 3.0, 3.5, 2.0]
ONE_NAME = {"filename": "best", "save_last": True}
BESIDE = ("best and last", "link", "weights beside")
NEWEST = {"filename": "newest", "monitor": None}
CALLBACKS: dict[str, list[dict[str, Any]]] = {
    "best and last": [ONE_NAME],
    "best": [{"filename": "best"}],
    "two best of one name": [{**ONE_NAME, "save_top_k": 2}],
    "two best": [{"save_top_k": 2, "save_last": True}],
    "all": [{"save_top_k": -1}],
    "all, none monitored": [{"monitor": None, "save_top_k": -1, "save_last": True}],
    "link": [{"save_last": "link"}],
    "link, one name": [{"filename": "best", "save_last": "link"}],
    "a name that comes again": [{"filename": "{score:.0f}", "monitor": None, "save_last": "link"}],
    "every second epoch": [{"filename": "best", "every_n_epochs": 2, "save_last": True}],
    "none, but last": [{"save_top_k": 0, "save_last": True}],
    "weights beside": [NEWEST, {"filename": "best", "save_weights_only": True}],
    "weights before": [{"filename": "best", "save_weights_only": True}, NEWEST],
    "best, and last of each epoch": [
        {"filename": "best"},
        {"filename": "last", "monitor": None, "enable_version_counter": False},
    ],
    "two with last": [ONE_NAME, {**NEWEST, "save_last": True}],
}


def goes_on(*callbacks: Any, **kwargs: Any) -> lighter.Trainer:
    """Train to the end, from the newest checkpoint that is there."""
    there = [one.path for one in Checkpoints(RunFolder(Path()), {}).newest if not one.has_weights_only]
    torch.manual_seed(1)
    found = trainer(*callbacks, max_epochs=len(SCORES), **kwargs)
    data = DataLoader(torch.arange(8.0).view(2, 4), batch_size=2)
    found.fit(Scored(SCORES), data, ckpt_path=there[0].resolve() if there else None)
    return found


def until(epoch: int, call: Callable[[], None], callbacks: list[dict[str, Any]], **kwargs: Any) -> None:
    """A fit in which something happens when an epoch begins."""
    goes_on(*map_to_callbacks(callbacks), At({epoch: call}), **kwargs)


def map_to_callbacks(given: list[dict[str, Any]]) -> list[ModelCheckpoint]:
    return [checkpoint(**arguments) for arguments in given]


def copied_to(folder: str) -> None:
    """What a kill would leave now, at another place."""
    Path("checkpoints").mkdir(exist_ok=True)  # there may be none yet
    shutil.copytree("checkpoints", f"{folder}/checkpoints", symlinks=True)


def left_by(callbacks: list[dict[str, Any]]) -> dict[str, int]:
    """The files of a fit that nobody stopped."""
    Path("whole").mkdir()
    os.chdir("whole")
    goes_on(*map_to_callbacks(callbacks))
    found = files()
    os.chdir("..")
    return found


KILLED: list[tuple[str, int, bool]] = [  # the callbacks, the epoch, and `async_save`
    *((name, 4, False) for name in CALLBACKS),
    # no file was saved after `last` was noted
    *((name, 1, False) for name in ("best and last", "link, one name")),
    ("a name that comes again", 2, False),  # is saved in epochs 1 and 2
    *((name, 2, True) for name in BESIDE),
]


@pytest.mark.parametrize("case", one_in(4, KILLED), ids=str)
def test_killed_moved_and_gone_on_with(case: tuple[str, int, bool], own_place: Path) -> None:
    name, epoch, async_save = case
    expected = left_by(CALLBACKS[name])
    Path("killed").mkdir()
    os.chdir("killed")
    until(epoch, lambda: copied_to("../moved"), CALLBACKS[name])
    os.chdir("..")
    shutil.rmtree("killed")
    os.chdir("moved")
    goes_on(*map_to_callbacks(CALLBACKS[name]), async_save=async_save)
    assert files() == expected
    os.chdir("..")


@pytest.mark.parametrize("save_last", [True, "link"])
def test_killed_between_the_last_file_and_last(save_last: Any, own_place: Path) -> None:
    callbacks: list[dict[str, Any]] = [{"filename": "best", "save_last": save_last}]
    expected = left_by(callbacks)
    os.mkdir("killed")
    os.chdir("killed")
    older = Path("../older.ckpt").absolute()
    until(1, lambda: shutil.copy("checkpoints/last.ckpt", older), callbacks)
    shutil.rmtree("checkpoints")
    goes_on(*map_to_callbacks(callbacks))
    (last := Path("checkpoints/last.ckpt")).unlink()
    if save_last is True:
        shutil.copy(older, last)
    goes_on(*map_to_callbacks(callbacks))
    assert files() == expected
    os.chdir("..")


def test_a_name_that_became_a_link_to_a_newer_one_is_kept(tmp_path: Path) -> None:
    """A copied folder may have files in the place of links; `save_last: link` then gives the name away."""
    (tmp_path / "newer.ckpt").touch()
    (last := tmp_path / "last.ckpt").symlink_to("newer.ckpt")
    left, callback = LeftOver(), checkpoint()
    left._resumed, callback._last_global_step_saved = str(last), 1
    strategy = SimpleNamespace(remove_checkpoint=os.unlink)
    left.remove_resumed(SimpleNamespace(checkpoint_callbacks=[callback], strategy=strategy), callback)
    assert last.is_symlink()


STOPPED = [*((name, [1, 3]) for name in CALLBACKS), ("best", [1]), ("best and last", [1])]


@pytest.mark.parametrize("case", one_in(4, STOPPED), ids=str)
def test_stopped_and_gone_on_with(case: tuple[str, list[int]], own_place: Path) -> None:
    name, epochs = case
    expected = left_by(CALLBACKS[name])
    for epoch in epochs:
        with pytest.raises(Stopped):
            until(epoch, lambda: os.kill(os.getpid(), signal.SIGTERM), CALLBACKS[name])
        assert torch.load("checkpoints/last.ckpt", weights_only=True)["lighter"]["stopped"] is True
    goes_on(*map_to_callbacks(CALLBACKS[name]))
    assert files() == expected


class Validated(Scored):
    """A score of each validation, after each step."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", -float(self.global_step))


class StopsBeforeValidation(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:  # at which the callback would save
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_is_no_save_of_the_callback_whose_name_it_uses(own_place: Path) -> None:
    data = DataLoader(torch.arange(16.0).view(4, 4), batch_size=2)

    def fitted(folder: Path, *callbacks: Any, ckpt_path: Path | None = None) -> dict[str, int]:
        saves = folder / "checkpoints"
        callback = ModelCheckpoint(saves, filename="{step}", monitor="val", save_top_k=-1, save_last=True)
        options = {"max_epochs": 2, "val_check_interval": 1, "num_sanity_val_steps": 0, "logger": False}
        found = lighter.Trainer(default_root_dir=folder, callbacks=[callback, *callbacks], accelerator="cpu", **options)
        found.fit(Validated(SCORES), data, data, ckpt_path=ckpt_path)
        return {path.name: torch.load(path)["global_step"] for path in saves.iterdir()}

    expected = fitted(own_place / "whole")
    with pytest.raises(Stopped):
        fitted(own_place / "stopped", StopsBeforeValidation())
    assert fitted(own_place / "stopped", ckpt_path=own_place / "stopped/checkpoints/last.ckpt") == expected


def test_the_checkpoint_of_a_stop_stays_while_nothing_newer_is_saved(own_place: Path) -> None:
    callbacks = [{"filename": "best", "save_weights_only": True}]
    with pytest.raises(Stopped):
        until(3, lambda: os.kill(os.getpid(), signal.SIGTERM), callbacks)
    goes_on(*map_to_callbacks(callbacks))
    assert files() == {"best.ckpt": 5, "last.ckpt": 4}


def test_what_a_user_put_there_is_left_alone(own_place: Path) -> None:
    callbacks = [{"filename": "{epoch}"}]
    until(2, lambda: copied_to("moved"), callbacks)
    os.chdir("moved")
    shutil.copy("checkpoints/1.ckpt", "checkpoints/mine.ckpt")
    Path("checkpoints/notes.txt").write_text("mine")
    goes_on(*map_to_callbacks(callbacks))
    assert files() == {"5.ckpt": 5, "mine.ckpt": 1, "notes.txt": -1}
    os.chdir("..")


def test_a_fit_elsewhere_takes_over_and_deletes_nothing(own_place: Path) -> None:
    goes_on(checkpoint(**ONE_NAME))
    before = {path: path.read_bytes() for path in Path("checkpoints").iterdir()}
    other = ModelCheckpoint("other", monitor="score", filename="best", save_last=True, save_on_train_epoch_end=True)
    found = lighter.Trainer(default_root_dir="other", callbacks=[other], logger=False, max_epochs=8, accelerator="cpu")
    data = DataLoader(torch.arange(8.0).view(2, 4), batch_size=2)
    with pytest.warns(UserWarning, match="The dirpath has changed"):
        found.fit(Scored([*SCORES, 9.0, 8.0]), data, ckpt_path=str(Path("checkpoints/last.ckpt").absolute()))
    assert {path: path.read_bytes() for path in Path("checkpoints").iterdir()} == before
    assert sorted(path.name for path in Path("other").glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    assert float(other.best_model_score) == 8.0


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("folder", ["checkpoints", "other"])
def test_a_longer_fit_saves_what_is_saved_at_its_end_alone(own_place: Path, folder: str) -> None:
    goes_on(checkpoint(**CALLBACKS["none, but last"][0]))
    source = Path("checkpoints/last.ckpt").absolute()
    again = ModelCheckpoint(folder, monitor="score", save_last=True, save_top_k=0)
    found = lighter.Trainer(default_root_dir=".", callbacks=[again], logger=False, max_epochs=8, accelerator="cpu")
    found.fit(Scored([*SCORES, 9.0, 8.0]), DataLoader(torch.arange(8.0).view(2, 4), batch_size=2), ckpt_path=source)
    assert torch.load(f"{folder}/last.ckpt")["global_step"] == 8


class Fails(At):
    def __init__(self, epoch: int) -> None:
        def fail() -> None:
            raise KeyError("as a user's code does")

        super().__init__({epoch: fail})


def plain(*callbacks: Any) -> lighter.Trainer:
    """A plain fit, which is not asked to go on."""
    found = trainer(*callbacks, max_epochs=3)
    found.fit(Scored(SCORES), DataLoader(torch.arange(8.0).view(2, 4), batch_size=2))
    return found


def test_on_exception_checkpoint(own_place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError):
        plain(OnExceptionCheckpoint("."), Fails(2))
    assert files() == {"last.ckpt": 1}, "the default callbacks are there beside it"
    assert Path("on_exception.ckpt").is_file()
    found = plain(OnExceptionCheckpoint("."))
    said = "the fit goes on from ./on_exception.ckpt, which an OnExceptionCheckpoint left of one that failed"
    assert said in caplog.text
    assert found.global_step == 3
    assert not Path("on_exception.ckpt").exists()
    assert plain(OnExceptionCheckpoint(".")).global_step == 3, "last.ckpt is not what a plain fit goes on from"
    assert caplog.text.count(said) == 1
    assert found.checkpoint_callback is not None
    assert Path(found.checkpoint_callback.best_model_path).name == "last.ckpt"
