"""What the state of a checkpoint's callbacks may name: nothing outside of their folders, in whatever spelling."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from torch.utils.data import DataLoader

import lighter
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.restored import KeepsOwnFiles, keep_own_files
from tests.slow import slow_but
from tests.trainer.checkpointing.jobs import Scored, checkpoint, trainer

SCORES = [5.0, 4.0, 3.0, 2.0]
OUTSIDE: dict[str, Callable[[Path, Path], str]] = {
    "local": lambda victim, folder: f"local://{victim}",
    "file": lambda victim, folder: f"file://{victim}",
    "memory": lambda victim, folder: "memory://victim",
    "chain": lambda victim, folder: f"simplecache::local://{victim}",
    "chain below": lambda victim, folder: f"{folder}/x::local://{victim}",
    "scheme below": lambda victim, folder: f"{folder}/local://{victim}",
    "up": lambda victim, folder: f"{folder}/../victim",
    "up and down": lambda victim, folder: f"{folder}/../checkpoints/../victim",
    "link": lambda victim, folder: f"{folder}/link",
    "below a link": lambda victim, folder: f"{folder}/link/inner",
    "absolute": lambda victim, folder: str(victim),
    "relative": lambda victim, folder: "victim",
    "beside": lambda victim, folder: f"{folder}-of-others/x.ckpt",
    "itself": lambda victim, folder: str(folder),
    "no name": lambda victim, folder: "a\0b",
}


class Keeps(ModelCheckpoint):
    """A user's, which deletes what it has kept in an entry of its own."""

    def __init__(self, dirpath: str, **kwargs: Any) -> None:
        super().__init__(dirpath, **kwargs)
        self.kept: dict[str, Any] = {"by name": [], "other": "val/loss"}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept = state_dict.pop("kept")
        super().load_state_dict(state_dict)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for path in self.kept["by name"]:
            self._remove_checkpoint(trainer, path)


ARGUMENTS = {"monitor": "score", "filename": "{epoch}", "save_last": True, "save_on_train_epoch_end": True}
KINDS: dict[str, Callable[[], Any]] = {
    "ModelCheckpoint": lambda: ModelCheckpoint("checkpoints", **ARGUMENTS),
    "subclass": lambda: Keeps("checkpoints", **ARGUMENTS),
    "none monitored": lambda: ModelCheckpoint("checkpoints", **{**ARGUMENTS, "monitor": None}),
}


@pytest.fixture
def victim(own_place: Path) -> Path:
    """A folder that somebody would miss, which looks like a checkpoint; and a link to it."""
    found = own_place / "victim"
    (found / "inner").mkdir(parents=True)
    for name in (".metadata", "data.txt", "inner/meta.pt"):
        (found / name).write_text("precious")
    (own_place / "checkpoints").mkdir()
    (own_place / "checkpoints/link").symlink_to(found)
    (own_place / "checkpoints-of-others").mkdir()
    torch.save({}, own_place / "checkpoints-of-others/x.ckpt")
    return found


def goes_on(kind: type[pl.Trainer], callbacks: list[Any], ckpt_path: str | None, epochs: int) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    found = kind(default_root_dir=".", accelerator="cpu", callbacks=callbacks, max_epochs=epochs, **quiet)
    data = DataLoader(torch.arange(8.0).view(2, 4), batch_size=2)
    found.fit(Scored(SCORES), data, ckpt_path=ckpt_path, weights_only=True)
    return found


def poison(path: str, texts: list[str]) -> None:
    """All that a callback's state names is one of these."""
    content = torch.load(path, weights_only=True)
    for state in content["callbacks"].values():
        for index, name in enumerate(("last_model_path", "best_model_path", "kth_best_model_path")):
            if name in state:
                state[name] = texts[index % len(texts)]
        if "best_k_models" in state:
            state["best_k_models"] = {text: torch.tensor(9.0 - index) for index, text in enumerate(texts)}
        if "kept" in state:
            state["kept"]["by name"] = list(texts)
    torch.save(content, path)


def everything(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", slow_but([*OUTSIDE, "all of them"], "all of them"))
def test_nothing_outside_is_deleted(
    spelling: str, kind: str, victim: Path, own_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on(lighter.Trainer, [KINDS[kind]()], None, 1)
    folder = own_place / "checkpoints"
    given = [make(victim, folder) for make in OUTSIDE.values()] if spelling not in OUTSIDE else []
    poison("checkpoints/last.ckpt", given or [OUTSIDE[spelling](victim, folder)])
    os.rename("checkpoints/last.ckpt", "checkpoints/then.ckpt")
    before = everything(victim), everything(own_place / "checkpoints-of-others")
    callback = KINDS[kind]()
    goes_on(lighter.Trainer, [callback], str(folder / "then.ckpt"), 4)
    assert (everything(victim), everything(own_place / "checkpoints-of-others")) == before
    assert (folder / "link").is_symlink()
    lines = [line.getMessage() for line in caplog.records if "names files outside of" in line.getMessage()]
    assert len(lines) == 1
    assert f"names files outside of {type(callback).__name__}'s folder {folder}; it forgets them: " in lines[0]
    if isinstance(callback, Keeps):
        assert callback.kept == {"by name": [], "other": "val/loss"}


def test_in_lightnings_own_trainer(victim: Path, own_place: Path) -> None:
    goes_on(pl.Trainer, [KINDS["subclass"]()], None, 1)
    folder = own_place / "checkpoints"
    poison("checkpoints/last.ckpt", [make(victim, folder) for make in OUTSIDE.values()])
    os.rename("checkpoints/last.ckpt", "checkpoints/then.ckpt")
    before = everything(victim)
    goes_on(pl.Trainer, [KeepsOwnFiles(), KINDS["subclass"]()], str(folder / "then.ckpt"), 4)
    assert everything(victim) == before


class Custom(Checkpoint):
    """A user's without `dirpath`: its files may be anywhere in the run's folder."""

    state_key = "Custom"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"files": ["/run/a/x.ckpt", "/etc/passwd"]}, {"files": ["/run/a/x.ckpt"]}),
        ({"by": {"/run/x": 1, "local:///etc": 2}, "n": ("..", 1)}, {"by": {"/run/x": 1}, "n": (1,)}),
        ({"path": "/etc", "name": "epoch=1", "monitor": "a/b"}, {"path": "", "name": "epoch=1", "monitor": "a/b"}),
        ({"set": {"/etc", "x"}}, {"set": {"x"}}),
    ],
)
def test_what_a_callback_of_ones_own_keeps(given: Any, kept: Any, own_place: Path) -> None:
    loaded: dict[str, Any] = {"callbacks": {"Custom": given}}
    keep_own_files(trainer(Custom()), loaded, "/run/checkpoints/last.ckpt", "/run")
    assert {name: value for name, value in loaded["callbacks"]["Custom"].items() if value is not None} == kept


def test_state_that_holds_itself_or_objects(own_place: Path) -> None:
    circle: list[Any] = []
    circle.append(circle)
    callback = checkpoint()
    loaded: dict[str, Any] = {"callbacks": {callback.state_key: {"dirpath": "x", "more": circle}}}
    keep_own_files(trainer(callback), loaded, "x/last.ckpt", None)
    assert loaded["callbacks"] == {callback.state_key: {}}
    objects = {"last_model_path": pathlib.PurePosixPath("/etc"), "best_model_path": 7, "best_k_models": [1]}
    loaded = {"callbacks": {callback.state_key: objects}}
    keep_own_files(trainer(callback), loaded, "x/last.ckpt", None)
    found = loaded["callbacks"][callback.state_key]
    assert (found["last_model_path"], found["best_model_path"], found["best_k_models"]) == ("", "", {})


def test_files_of_a_remote_folder(own_place: Path) -> None:
    callback = checkpoint()
    callback.dirpath = "memory://run/checkpoints"
    texts = ["memory://run/checkpoints/a.ckpt", "memory://run/other.ckpt", "memory://run/checkpoints/../x", "/etc"]
    texts += ["memory://run/checkpoints/a::local:///etc"]
    state = {"dirpath": callback.dirpath, "best_k_models": dict.fromkeys(texts, torch.tensor(1.0)), "monitor": "score"}
    loaded: dict[str, Any] = {"callbacks": {callback.state_key: state}}
    keep_own_files(trainer(callback), loaded, texts[0], None)
    assert list(loaded["callbacks"][callback.state_key]["best_k_models"]) == texts[:1]


def test_only_checkpoints_are_removed(own_place: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("folder", "sharded", "empty"):
        Path(name).mkdir()
    Path("folder/data.txt").touch()
    Path("sharded/.metadata").touch()
    Path("text.ckpt").write_text("no checkpoint")
    torch.save({}, "real.ckpt")
    Path("link.ckpt").symlink_to("folder")
    spellings = ["folder", "empty", "text.ckpt", "nothing", f"file://{own_place}/folder", "sharded", "real.ckpt"]
    for path in [*spellings, "link.ckpt"]:
        CheckpointFiles().remove_checkpoint(path)
    assert sorted(path.name for path in own_place.iterdir()) == ["empty", "folder", "text.ckpt"]
    assert Path("folder/data.txt").is_file()
    assert caplog.text.count("is no checkpoint, and is not removed") == 4
