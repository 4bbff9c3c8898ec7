"""The data of a page: groups, table, differences, search, resources."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighter.results.report import subject
from lighter.results.report.document import document
from lighter.results.report.groups import varied
from lighter.results.report.subject import find_subject
from tests.experiments.jobs import make_experiment
from tests.results.report.jobs import DAY, make_fit, make_search, write_arrays


def data(root: Path, *words: str) -> dict[str, Any]:
    return document(find_subject(list(words), root))


def test_runs_that_differ_in_their_seed_alone_are_a_group_named_by_what_tells_it_apart(tmp_path: Path) -> None:
    for number in range(6):
        make_fit(tmp_path, number, seed=number % 3, lr=0.1 if number < 3 else 0.01)
    found = data(tmp_path)
    assert [(group["label"], group["runs"]) for group in found["groups"]] == [
        ("lr=0.01", [0, 1, 2]),
        ("lr=0.1", [3, 4, 5]),
    ]
    assert found["groups"][0]["estimate"]["members"] == 3
    assert found["config"] == [{"path": "model::optimizer::lr", "values": ["0.01", "0.1"]}]


def test_runs_of_several_names_have_labels_of_their_own(tmp_path: Path) -> None:
    make_fit(tmp_path, 0)
    for number, lr in enumerate((0.1, 0.01), 1):
        other = make_fit(tmp_path, number, identity=f"{DAY}/11-00-0{number}-other", name="other")
        (other / "config.yaml").write_text(f"seed: 1\nsystem: {{lr: {lr}}}\n")
    found = data(tmp_path)
    assert sorted(group["label"] for group in found["groups"]) == ["digits", "other · lr=0.01", "other · lr=0.1"]
    partial = [row["path"] for row in found["config"] if row.get("partial")]
    assert "model::_target_" in partial
    assert found["config"][0]["path"] == "system::lr"


def test_a_test_is_no_member_of_the_group_of_its_fit(tmp_path: Path) -> None:
    make_fit(tmp_path, 0)
    make_fit(tmp_path, 1, stage="test", metrics={"test/loss/epoch": 0.3})
    assert [group["label"] for group in data(tmp_path)["groups"]] == ["test", "fit"]


def test_a_member_that_has_just_begun_does_not_change_how_the_others_are_called(tmp_path: Path) -> None:
    folder = make_search(tmp_path, trials=3)
    before = data(tmp_path, str(folder))["groups"]
    (folder / "trial-0002-seed-1" / "config.yaml").unlink()
    after = data(tmp_path, str(folder))["groups"]
    assert before[0]["label"] == "trial 0 · lr=0.0001, kind=a"
    assert [each["label"] for each in after] == [*(each["label"] for each in before[:2]), "trial 2"]
    assert [each["values"] for each in after[:2]] == [each["values"] for each in before[:2]]


def test_a_config_that_is_not_written_yet_makes_nothing_different(tmp_path: Path) -> None:
    assert varied([{"a": 1}, {}, {"a": 1}]) == []
    (make_fit(tmp_path, 0) / "config.yaml").unlink()
    make_fit(tmp_path, 1)
    assert data(tmp_path)["config"] == []


def test_the_heads_say_what_was_run_on_what(tmp_path: Path) -> None:
    found = data(tmp_path, str(make_fit(tmp_path)))
    assert (found["title"], found["kind"], found["models"]) == ("digits", "run", ["Classifier"])
    assert (found["datasets"], found["samples"]) == (["data.digits"], {"train": 1200})
    assert found["statuses"] == {"finished": 1}


def test_the_table_has_a_row_for_each_run_with_values_and_metrics(tmp_path: Path) -> None:
    make_fit(tmp_path, 0, lr=0.1)
    make_fit(tmp_path, 1, lr=0.01, seed=2, metrics={"val/loss/epoch": math.nan})
    table = data(tmp_path)["table"]
    names = [column["name"] for column in table["columns"]]
    assert names == ["run", "seed", "lr", "val/loss", "val/accuracy", "status", "time", "started", "stage"]
    assert table["rows"][0][:5] == [f"{DAY}/10-00-01-digits", 2, 0.01, "nan", None]
    assert table["rows"][1][:4] == [f"{DAY}/10-00-00-digits", 1, 0.1, pytest.approx(0.21)]


def test_differences_of_code_and_machine_are_named_once_with_their_groups(tmp_path: Path) -> None:
    software = {"python": "3.11.7", "packages": {"torch": "2.13.0"}}
    make_fit(tmp_path, 0, lr=0.1, software=software)
    for number, lr in ((1, 0.01), (2, 0.001)):
        make_fit(tmp_path, number, lr=lr, software={**software, "packages": {"torch": "2.12.0"}})
    words = [f"{DAY}/10-00-0{number}" for number in range(3)]
    [found] = data(tmp_path, *words)["differences"]
    assert found == {
        "about": "environment",
        "name": "package torch",
        "before": "2.13.0",
        "after": "2.12.0",
        "groups": ["lr=0.01", "lr=0.001"],
    }


def test_a_search_has_its_trials_with_importance_and_the_time_when_they_ended(tmp_path: Path) -> None:
    make_search(tmp_path)
    [search] = data(tmp_path, "sweep")["searches"]
    assert (search["best"], search["asked"], search["objectives"]) == (
        [3],
        12,
        [{"metric": "val/loss/epoch", "mode": "min"}],
    )
    of = {each["label"]: each for each in search["parameters"]}
    assert (of["lr"]["scale"], of["kind"]["choices"]) == ("log", ["a", "b"])
    assert of["lr"]["importance"] > 0.8 > 0.3 > of["kind"]["importance"]
    assert search["trials"][0]["number"] == 3
    assert search["trials"][0]["objectives"] == [{"mean": 0.1, "half_width": None, "members": 1, "text": "0.1"}]
    assert all(isinstance(trial["ended"], float) for trial in search["trials"])


def test_trials_at_different_rungs_are_compared_at_the_one_that_all_have_reached(tmp_path: Path) -> None:
    make_experiment(tmp_path, trials=9)
    found = data(tmp_path, "digits")
    [search] = found["searches"]
    assert (search["compared_at"], search["by"]) == ("1", "max_epochs")
    assert [rung["at"] for rung in search["rungs"]] == ["1", "3", "end"]
    best = next(trial for trial in search["trials"] if trial["number"] == search["best"][0])
    assert [rung["length"] for rung in best["by_rung"]] == [1.0, 3.0, 9.0]
    assert found["verdict"] is None  # of trials that nothing was asked to compare


def test_an_experiment_in_which_nothing_has_started_is_no_error(tmp_path: Path) -> None:
    (make_search(tmp_path, trials=1) / "trial-0000-seed-1" / "run.json").unlink()
    found = data(tmp_path, "sweep")
    assert (found["runs"], found["metric"], found["curves"]) == ([], None, {})


def test_resources_count_machines_and_the_time_of_all_starts(tmp_path: Path) -> None:
    starts = [{"started": f"{DAY}T09:00:00+00:00", "ended": f"{DAY}T09:30:00+00:00", "seconds": 1800}]
    make_fit(tmp_path, 0, starts=starts)
    found = data(tmp_path)["resources"]
    assert found["machines"] == [
        {"text": "2 x NVIDIA H200, 2 cores (x86_64), used 2 GPUs, precision bf16-mixed", "runs": 1}
    ]
    assert [end - start for start, end in found["runs"][0]["spans"]] == [1800.0, 3600.0]
    assert found["seconds"] == 1801.5


def test_arrays_of_metrics_are_those_of_the_last_evaluation(tmp_path: Path) -> None:
    run = make_fit(tmp_path)
    write_arrays(run, 40, confusion=np.eye(3))
    write_arrays(run, 200, confusion=np.array([[1, 2], [0, math.nan]]), scalar=np.array(1.0), large=np.zeros(500))
    (run / "arrays" / "val-epoch1-step300.npz").write_bytes(b"damaged")
    assert data(tmp_path)["arrays"] == []
    (run / "arrays" / "val-epoch1-step300.npz").unlink()
    [found] = data(tmp_path)["arrays"]
    assert (found["name"], found["step"], found["values"]) == ("confusion", 200, [[1.0, 2.0], [0.0, None]])


def test_what_was_not_committed_is_shown_once(tmp_path: Path) -> None:
    for number in range(2):
        run = make_fit(tmp_path, number, lr=0.1 / (number + 1))
        (run / "source.patch").write_text("diff --git a/x.py b/x.py\n+password = 'correct-horse-1'\n")
    [patch] = data(tmp_path)["patches"]
    assert patch["text"] == "diff --git a/x.py b/x.py\n+password = '<redacted>'\n"


def test_a_subtree_that_was_chosen_by_its_name_is_a_column_of_names(tmp_path: Path) -> None:
    folder = make_search(tmp_path, trials=2)
    networks = {"small": {"_target_": "A", "width": 4}, "big": {"_target_": "B", "width": 8}}
    space = {"model::network": {"choose": networks}}
    experiment = {"objective": "min val/loss/epoch", "search": {"space": space, "trials": 2}}
    (folder / "config.yaml").write_text(json.dumps({"seed": 1, "experiment": experiment}))
    for number, network in enumerate(networks.values()):
        home = folder / f"trial-000{number}-seed-1"
        member = json.loads((home / "member.json").read_text()) | {"values": {"model::network": network}}
        (home / "member.json").write_text(json.dumps(member))
        (home / "config.yaml").write_text(json.dumps({"seed": 1, "model": {"network": network}}))
    found = data(tmp_path, "sweep")
    assert [group["label"] for group in found["groups"]] == ["trial 0 · network=small", "trial 1 · network=big"]
    columns = [column["path"] for column in found["table"]["columns"] if column["kind"] == "value"]
    assert columns == ["model::network"]


@pytest.mark.parametrize(("sizes", "is_same"), [((5, 5), True), ((5, 6), False), ((None, 5, 6), False)])
def test_groups_on_other_data_have_no_axis_in_common(
    tmp_path: Path, sizes: tuple[int | None, ...], is_same: bool
) -> None:
    for number, size in enumerate(sizes):
        facts: dict[str, Any] = {} if size is None else {"data": {"val": [{"class": "Digits", "length": size}]}}
        make_fit(tmp_path, number, lr=0.1 / (number + 1), **facts)
    assert data(tmp_path)["same_data"] is is_same


def test_nan_in_a_row_of_the_table_is_no_missing_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "DETAILED", 1)
    for number in range(2):
        make_fit(tmp_path, number, metrics={"val/loss/epoch": math.nan})
    table = data(tmp_path)["table"]
    at = [column["name"] for column in table["columns"]].index("val/loss")
    assert [row[at] for row in table["rows"]] == ["nan", "nan"]
