"""What a baseline is: of a run, of an experiment's trial; its metric, its direction, its seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighter.config import yaml
from lighter.errors import RunError
from lighter.tries.baseline import find_baseline
from tests.results.jobs import ACCURACY, LOSS, make_fit, make_fits, make_sweep


def test_of_a_run_the_metric_by_which_its_best_checkpoint_was_chosen(tmp_path):
    config = {"trainer": {"callbacks": [{"_target_": "ModelCheckpoint", "monitor": "score", "mode": "min"}]}}
    best = [{"path": "a.ckpt"}, {"path": "b.ckpt", "monitor": "score", "score": 1.0, "best": True}]
    metrics = {"score": 1.0, LOSS: 0.3, ACCURACY: 0.8}
    folder = tmp_path / "2026-11-29/10-00-00-one"
    make_fit(folder, 0.8, 7, config=yaml.dump(config), metrics=metrics, checkpoints=best)
    found = find_baseline("one", tmp_path)
    assert (found.metric, found.is_maximized, found.objective) == ("score", False, "min score")
    assert (found.first_seed, found.folder) == (8, folder / "tries")
    assert find_baseline("one", tmp_path, "max score").is_maximized
    asked = find_baseline("one", tmp_path, "val/metrics/accuracy")
    assert (asked.metric, asked.is_maximized) == (ACCURACY, True)


def test_of_a_run_without_checkpoints_the_first_metric_of_the_list(tmp_path):
    make_fit(tmp_path / "2026-11-29/10-00-00-one", 0.8)
    found = find_baseline("one", tmp_path)
    assert (found.metric, found.is_maximized) == (LOSS, False)


def test_of_an_experiment_its_best_trial_with_its_values(tmp_path):
    folder = make_sweep(tmp_path, "search", [(0.8, 0.81), (0.9, 0.91)])
    found = find_baseline("search", tmp_path)
    assert (found.metric, found.is_maximized) == (ACCURACY, True)
    assert found.folder == folder / "tries/trial-0001"
    assert found.config["model"]["lr"] == pytest.approx(0.01)
    assert "experiment" not in found.config
    assert found.first_seed == 1 + max(each for each in _seeds(folder))
    assert find_baseline(f"{folder}/trial-0", tmp_path).folder == folder / "tries/trial-0000"


def _seeds(folder: Path) -> list[int]:
    return [int(path.name.split("-seed-")[1].partition("-")[0]) for path in folder.glob("trial-*-seed-*")]


def test_no_baselines(tmp_path):
    make_fits(tmp_path, "several", (0.8, 0.9))
    make_fit(tmp_path / "2026-11-29/10-00-00-tested", 0.8, stage="test")
    make_fit(tmp_path / "2026-11-29/10-00-00-safe", 0.8, safe=True)
    make_sweep(tmp_path, "folds", [(0.8, 0.81)], folds=2)
    for word, message in {
        "several": "stands for 2 runs",
        "tested": "is a test; a baseline is a fit",
        "safe": "ran in safe mode",
        "folds": "has folds",
        "nothing": "is called `nothing`",
    }.items():
        with pytest.raises(RunError, match=message):
            find_baseline(word, tmp_path)
