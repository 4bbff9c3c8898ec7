"""Which file of a run is its last, and which its best, whatever the files are called and wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.files.run_folder import RunFolder
from lighter.runs.checkpoint_files import Checkpoints
from lighter.trainer.checkpointing.writing import write

RUN = "outputs/2026-01-02/10-00-00-run"


def saved(name: str, step: int, *, best: tuple[str, float] | None = None, complete: bool = True) -> str:
    """A file of our own, older than it looks."""
    path = Path(name) if os.path.isabs(name) else Path(RUN, "checkpoints", name)
    content: dict[str, Any] = {"state_dict": {}, "global_step": step, "epoch": step // 10}
    content |= {"optimizer_states": [], "loops": {}} if complete else {}
    if best is not None:
        state = {"monitor": "val", "best_model_score": torch.tensor(best[1])}
        content["callbacks"] = {"x": {**state, "best_model_path": str(path.absolute().parent / best[0])}}
    write(content, path)
    os.utime(path, (1000 - step, 1000 - step))
    return str(path)


def found(facts: Any = None, *, inside: bool = False) -> Checkpoints:
    return Checkpoints(RunFolder(Path(RUN)), facts if facts is not None else {"status": "finished"}, inside=inside)


def names(facts: Any = None, *, inside: bool = False) -> list[str]:
    return [one.path.name for one in found(facts, inside=inside).newest]


def test_the_last_is_the_one_that_was_trained_for_longest(own_place: Path) -> None:
    for step, name in enumerate(["last.ckpt", "last-v1.ckpt", "deeper/any.ckpt", "best.ckpt"]):
        saved(name, 5 * step)
    assert names() == ["best.ckpt", "any.ckpt", "last-v1.ckpt", "last.ckpt"]
    saved("last.ckpt", 15)
    os.utime(Path(RUN, "checkpoints/best.ckpt"), (985, 985))
    assert names()[0] == "last.ckpt", "of one moment, what is called so"
    torch.save({}, Path(RUN, "checkpoints/by-lightning.ckpt"))
    assert names()[0] == "by-lightning.ckpt", "which says nothing of itself, so times tell"


@pytest.mark.parametrize("by", ["note", "record", "name"])
def test_the_best_is_found_after_a_kill_while_its_folder_was_replaced(by: str, own_place: Path) -> None:
    saved("last.ckpt", 5, best=("best.ckpt", 0.5) if by == "note" else None)
    earlier = Path(RUN, "checkpoints/best.replaced.ckpt")
    earlier.mkdir()
    entries = [{"path": "checkpoints/best.ckpt", "best": True, "score": 0.5}] if by == "record" else []
    best = found({"status": "running", "checkpoints": entries}).best
    assert best is not None
    assert (best.path.absolute(), best.score) == (earlier.absolute(), None if by == "name" else 0.5)


def test_the_path_of_a_run_may_go_up(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("last.ckpt", 5)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for inside in (False, True):
        [one] = Checkpoints(RunFolder(Path("..", RUN)), {}, inside=inside).newest
        assert one.path == own_place / RUN / "checkpoints/last.ckpt"


def test_files_that_are_none(own_place: Path) -> None:
    saved("a.ckpt", 1)
    folder = Path(RUN, "checkpoints")
    (folder / "dangling.ckpt").symlink_to("nothing")
    (folder / "circle.ckpt").symlink_to("circle.ckpt")
    (folder / ".last.ckpt.partial-1-00000000-00000000").touch()
    for facts in ({"checkpoints": 7}, {"checkpoints": [7, {}, {"path": 3}, {"path": "a\0b"}, {"path": ""}]}, [], 7):
        assert names(facts) == ["a.ckpt"]
        assert found(facts).best is None


RECORDED = [
    {"path": "checkpoints/a.ckpt", "monitor": "val", "score": 0.5, "best": True},
    {"path": "checkpoints/b.ckpt", "monitor": "val", "score": 0.7},
]


@pytest.mark.parametrize(
    ("facts", "best"),
    [
        ({"status": "finished", "checkpoints": RECORDED}, ("a.ckpt", 0.5)),
        ({"status": "running", "checkpoints": RECORDED}, ("b.ckpt", 0.25)),  # killed: what the newest file notes
        ({"status": "running"}, ("b.ckpt", 0.25)),
        ({"status": "finished", "checkpoints": RECORDED[1:]}, ("b.ckpt", 0.25)),
        ({"status": "running", "checkpoints": [{**RECORDED[0], "path": "checkpoints/gone.ckpt"}]}, ("b.ckpt", 0.25)),
    ],
)
def test_the_best(facts: dict[str, Any], best: tuple[str, float], own_place: Path) -> None:
    saved("a.ckpt", 10, best=("a.ckpt", 0.5))
    saved("b.ckpt", 20, best=("b.ckpt", 0.25))
    chosen = found(facts).best
    assert chosen is not None
    assert (chosen.path.name, chosen.score, chosen.monitor) == (*best, "val")
    os.rename(RUN, f"{RUN}-moved")
    moved = Checkpoints(RunFolder(Path(f"{RUN}-moved")), facts).best
    assert moved is not None
    assert moved.path == Path(f"{RUN}-moved/checkpoints", best[0])


def test_without_a_best_only_the_name_tells(own_place: Path) -> None:
    saved("a.ckpt", 10)
    assert found().best is None
    saved("best.ckpt", 5)
    chosen = found().best
    assert chosen is not None
    assert (chosen.path.name, chosen.monitor) == ("best.ckpt", None)


@pytest.mark.parametrize("inside", [False, True])
def test_what_lies_elsewhere(inside: bool, own_place: Path) -> None:
    saved("in.ckpt", 1)
    outside = saved(str(own_place / "elsewhere/out.ckpt"), 9)
    Path(RUN, "checkpoints/link.ckpt").symlink_to(outside)
    absolute = {"checkpoints": [{"path": outside, "best": True, "score": 1.0, "monitor": "val"}]}
    relative = {"checkpoints": [{"path": "../../../elsewhere/out.ckpt", "best": True}]}
    assert ("out.ckpt" in names(absolute, inside=inside)) is not inside
    assert "out.ckpt" not in names(relative, inside=inside), "Lighter notes such a path absolute"
    assert ("link.ckpt" in names(inside=inside)) is not inside
    assert (found(absolute, inside=inside).best is None) is inside
