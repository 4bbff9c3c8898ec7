"""The handle on an experiment in Python."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import lighter
from lighter.config.load import load
from lighter.errors import RunError
from tests.experiments.jobs import make_experiment

SUBTREE = {"model::network": {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2}}


def test_trials_members_and_runs(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, seeds=2)
    experiment = lighter.Experiment(folder)
    assert (experiment.path, experiment.id, experiment.state) == (folder, "2026-11-29/14-03-55-digits", "finished")
    assert [trial.number for trial in experiment.trials] == list(range(9))
    assert [member.name for member in experiment.members][:3] == [
        "trial-0000-seed-5",
        "trial-0000-seed-6",
        "trial-0001-seed-5",
    ]
    assert len(experiment.runs) == 18
    assert experiment.runs["trial-0003-seed-5"].status == "finished"
    assert repr(experiment) == f"Experiment({str(folder)!r})"


def test_it_is_found_as_on_the_command_line(tmp_path: Path) -> None:
    make_experiment(tmp_path, "2026-11-29/10-00-00-old")
    new = make_experiment(tmp_path, "2026-11-29/14-03-55-digits")
    for wanted in ("last", "digits", "2026-11-29/14", str(new)):
        assert lighter.Experiment(wanted, tmp_path).path == new
    with pytest.raises(RunError, match="is called `nothing`"):
        lighter.Experiment("nothing", tmp_path)


def test_metrics_are_columns(tmp_path: Path) -> None:
    rows = lighter.Experiment(make_experiment(tmp_path, folds=2)).metrics()
    assert len(rows) == 18
    assert rows[6] == {
        "trial": 3,
        "seed": 5,
        "fold": 0,
        "status": "finished",
        "model::optimizer::lr": 0.00002,
        "val/loss/epoch": pytest.approx(0.30558, abs=1e-4),
    }
    assert "val/loss/epoch" not in rows[0]  # it has failed


def test_the_best_and_its_config(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, values=SUBTREE)
    experiment = lighter.Experiment(folder)
    assert experiment.best.trial.number == 3
    assert [each.trial.number for each in experiment.front] == [3]
    assert [each.trial.number for each in experiment.results][:2] == [3, 7]
    config = experiment.best_config
    assert "experiment" not in config
    assert config["model"] == {
        "_target_": "torch.nn.Identity",
        "optimizer": {"lr": 0.00002},
        "network": SUBTREE["model::network"],
    }
    assert load([config]).plain() == config
    # a subtree replaces what is there
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("Identity}", "Identity, network: {_target_: a.B, size: 1}}"))
    assert lighter.Experiment(folder).best_config["model"]["network"] == SUBTREE["model::network"]


def test_the_best_of_several_objectives_is_best_in_the_first(tmp_path: Path) -> None:
    experiment = lighter.Experiment(make_experiment(tmp_path, several=True))
    assert experiment.best is experiment.front[0]
    assert math.isclose(experiment.best.estimates[0].mean, min(each.estimates[0].mean for each in experiment.front))


def test_without_results_there_is_no_best(tmp_path: Path) -> None:
    experiment = lighter.Experiment(make_experiment(tmp_path, trials=1))
    assert experiment.front == []
    with pytest.raises(RunError, match="has a result yet"):
        _ = experiment.best
    with pytest.raises(RunError, match="has a result yet"):
        _ = experiment.best_config


def test_in_a_notebook_it_is_its_results(tmp_path: Path) -> None:
    html = lighter.Experiment(make_experiment(tmp_path, seeds=2))._repr_html_()
    assert html.count("<table") == html.count("</table>") == 2
    assert html.count("<tr>") == 6 + 1 + 9
    assert "0.3061 ± 0.0064" in html
