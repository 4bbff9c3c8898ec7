"""Fits that are stopped or killed, moved or copied, and resumed: `last` and `best` are then the newest and the best.

`python -m tests.faults.inject_names` tries each way to checkpoint with each kind of stop in each place; `--short` tries
each way once.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.read import read_run
from tests.faults.desk import Desk, Scenario
from tests.faults.table import Results, main


def _saves(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", **arguments}


BEST = {"monitor": "val/loss/epoch", "filename": "best"}
WAYS: dict[str, list[dict[str, Any]]] = {
    "the default": [],
    "a monitor and save_last": [_saves(**BEST, save_last=True)],
    "a monitor alone": [_saves(**BEST)],
    "save_last as a link": [_saves(**BEST, save_last="link")],
    "the two best of one name": [_saves(**BEST, save_top_k=2, save_last=True)],
    "weights alone, and all by steps": [
        _saves(**BEST, save_weights_only=True),
        _saves(filename="all", every_n_train_steps=10),
    ],
}
STOPS = ("SIGTERM batch 5 0", "SIGKILL batch 100 0", "SIGTERM val_batch 2 0")
PLACES = ("in place", "moved", "copied")


def shown(run: Path) -> dict[str, Any]:
    """The files of a run, and what `last` and `best` mean."""
    found = Checkpoints(read_run(run).folder, read_run(run).facts)
    best = found.best
    assert found.last is not None
    content = torch.load(found.last, weights_only=True)
    weights = {name: value.tolist() for name, value in content["state_dict"].items()}
    return {
        "files": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "last": (content["global_step"], weights),
        "best": (best.path.name, best.monitor, best.score) if best is not None else None,
    }


def desk_of(place: Path, way: str) -> Desk:
    signals = {"_target_": "tests.faults.jobs.SignalsItself"}
    config = {"trainer": {"max_epochs": 3, "=callbacks": [signals, *WAYS[way]]}}
    return Desk(place, Scenario(way, config), exact=True)


def left_alone(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def resumed(desk: Desk, stop: str, place: str) -> str:
    """Stop, move, and go on; returns what is not as it should be."""
    desk.do_until(desk.fit, stop)
    run = desk.run
    elsewhere = desk.place / "outputs" / "2099-01-01" / run.name
    if place != "in place":
        elsewhere.parent.mkdir()
        (shutil.copytree if place == "copied" else shutil.move)(run, elsewhere)
    if not any((desk.run / "checkpoints").glob("*.ckpt")):
        return "there is nothing to go on from"
    before = left_alone(run) if place == "copied" else {}
    desk.do(desk.go_on)
    return "" if before == (left_alone(run) if place == "copied" else {}) else "the folder that was copied changed"


def names(results: Results, place: Path, *, short: bool) -> None:
    cases = list(itertools.product(STOPS, PLACES))
    for number, way in enumerate(WAYS):
        row = results.row(f"{way}: files, `last` and `best` as if it had not stopped")
        whole = desk_of(place / f"{number}", way)
        whole.do(whole.fit)
        expected = shown(whole.run)
        for stop, where in [cases[(number * 4 + 3) % len(cases)]] if short else cases:
            desk = desk_of(place / f"{number}-{stop}-{where}".replace(" ", "-"), way)
            why = resumed(desk, stop, where)
            found = shown(desk.run) if not why else expected
            why = why or "; ".join(f"{key}: {str(found[key])[:200]}" for key in found if found[key] != expected[key])
            row.add(f"{stop}, {where}", held=not why, why=why)


def inject(short: bool) -> Results:
    """All of it, or a share."""
    results = Results("The names of checkpoints")
    with tempfile.TemporaryDirectory(prefix="lighter-names-") as place:
        names(results, Path(place), short=short)
    return results


if __name__ == "__main__":
    sys.exit(main(inject))
