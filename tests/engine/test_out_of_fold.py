"""Out-of-fold predictions: each sample once, by the model that has not seen it; and the mean of all models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lighter
from lighter import Runner
from lighter.config.load import load
from lighter.engine import out_of_fold
from lighter.engine.out_of_fold import fitted_members, predict_ensemble, predict_out_of_fold
from lighter.engine.prediction_tables import Columns, mean, read_table, write_table
from lighter.errors import PredictionError, RunError
from lighter.experiments.folds import fold_override
from lighter.files.run_folder import RunFolder
from tests.engine import split_jobs as jobs
from tests.engine.test_split import LOADER, config, sides, system

EXPERIMENT = Path("experiment")
CSV = {"_target_": "lighter.callbacks.CsvWriter", "path": "predictions.csv", "keys": ["pred", "target"]}


def fit_members(inputs: dict[str, Any], folds: dict[str, Any], count: int, seeds: tuple[int, ...] = (1,)) -> None:
    """Fit members as an experiment does, and move their runs to where it has them."""
    EXPERIMENT.mkdir(exist_ok=True)
    for seed in seeds:
        for fold in range(count):
            words = [f"seed={seed}", fold_override(folds, fold, load([inputs])), "trainer::max_epochs=1"]
            outcome = Runner().execute("fit", [inputs, *words])
            outcome.folder.path.rename(EXPERIMENT / f"trial-0000-seed-{seed}-fold-{fold}")


def with_writers(inputs: dict[str, Any], *writers: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "trainer": {**inputs["trainer"], "callbacks": list(writers or (CSV,))}}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def without_split(inputs: dict[str, Any]) -> dict[str, Any]:
    """A config that is split by its experiment alone."""
    data = {key: value for key, value in inputs["data"].items() if key != "split"}
    return {**{key: value for key, value in inputs.items() if key != "data"}, **({"data": data} if data else {})}


def predicted_by_hand(seed: int) -> dict[int, tuple[int, float]]:
    """The fold and the prediction of each sample, by the members' checkpoints."""
    predicted = {}
    for fold in range(3):
        run = RunFolder(EXPERIMENT / f"trial-0000-seed-{seed}-fold-{fold}")
        module = lighter.load(run.path)
        with torch.no_grad():
            for index in sides(run)[1]:
                predicted[index] = (fold, float(module(jobs.data().tensors[0][index : index + 1])[0, 1]))
    return predicted


STRATIFIED = {"kind": "stratified", "n": 3}


def test_each_sample_is_predicted_by_the_model_that_has_not_seen_it() -> None:
    fit_members(with_writers(config()), STRATIFIED, 3)
    table = rows(predict_out_of_fold(EXPERIMENT, 0) / "predictions.csv")
    wanted = predicted_by_hand(1)
    assert [int(row["index"]) for row in table] == [*range(jobs.SAMPLES)] == sorted(wanted)
    for row in table:
        fold, pred = wanted[int(row["index"])]
        assert int(row["fold"]) == fold
        assert float(row["pred"]) == pytest.approx(pred, rel=1e-5)
        assert int(row["target"]) == jobs.data().tensors[1][int(row["index"])]
    again = predict_out_of_fold(EXPERIMENT, 0, "last")
    assert again.name == "predictions.2"


def test_several_seeds_have_a_mean() -> None:
    fit_members(without_split(with_writers(config())), STRATIFIED, 3, seeds=(1, 2))
    home = predict_out_of_fold(EXPERIMENT, 0)
    one, other, mean = (rows(home / part / "predictions.csv") for part in ("seed-1", "seed-2", ""))
    assert len(one) == len(other) == len(mean) == jobs.SAMPLES
    for first, second, both in zip(one, other, mean, strict=True):
        assert float(both["pred"]) == pytest.approx((float(first["pred"]) + float(second["pred"])) / 2)
        assert both["index"] == first["index"]
        assert both["target"] == first["target"]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_data_module_that_makes_its_own_loaders() -> None:
    inputs = with_writers(config())
    inputs["data"] = {"_target_": "tests.engine.split_jobs.Own"}
    fit_members(inputs, {**STRATIFIED, "dataset": LOADER["dataset"]}, 3)
    table = rows(predict_out_of_fold(EXPERIMENT, 0) / "predictions.csv")
    assert [int(row["target"]) for row in table] == jobs.data().tensors[1].tolist()


def test_a_system_and_its_files() -> None:
    files = {
        "_target_": "lighter.callbacks.FileWriter",
        "directory": "arrays",
        "value_key": "pred",
        "writer_fn": "tensor",
    }
    table = {**CSV, "keys": ["identifier", "pred"]}
    fit_members(without_split(with_writers(system(), files, table)), {"kind": "plain", "n": 3}, 3)
    home = predict_out_of_fold(EXPERIMENT, 0)
    assert {file.name for file in (home / "arrays").iterdir()} == {f"{index}.pt" for index in range(jobs.SAMPLES)}
    index = rows(home / "arrays.index.csv")
    assert [(row["name"], row["file"]) for row in index] == [(str(n), f"{n}.pt") for n in range(jobs.SAMPLES)]
    # a System's samples are named by their indices in the whole dataset
    table = rows(home / "predictions.csv")
    assert [row["identifier"] for row in table] == [str(index) for index in range(jobs.SAMPLES)]
    for row in table:
        assert torch.load(home / "arrays" / f"{row['index']}.pt").tolist() == json.loads(row["pred"])


def test_repeated_folds_have_a_table_for_each_repeat() -> None:
    fit_members(with_writers(config()), {"kind": "repeated", "n": 2, "repeats": 2}, 4)
    home = predict_out_of_fold(EXPERIMENT, 0)
    for repeat in (0, 1):
        table = rows(home / f"seed-1-repeat-{repeat}" / "predictions.csv")
        assert {int(row["fold"]) // 2 for row in table} == {repeat}
        assert len(table) == jobs.SAMPLES
    assert set(rows(home / "predictions.csv")[0]) == {"index", "pred", "target"}


def test_a_time_series_leaves_out_the_first_samples(caplog: pytest.LogCaptureFixture) -> None:
    fit_members(with_writers(config()), {"kind": "time_series", "n": 2}, 2)
    table = rows(predict_out_of_fold(EXPERIMENT, 0) / "predictions.csv")
    assert [int(row["index"]) for row in table] == [*range(20, 60)]
    assert "seed 1: 20 of 60 samples are in no validation side" in caplog.text


def test_samples_that_would_come_twice() -> None:
    splitter = {"_target_": "sklearn.model_selection.ShuffleSplit", "n_splits": 2, "test_size": 0.6, "random_state": 0}
    fit_members(with_writers(config()), {"splitter": splitter}, 2)
    with pytest.raises(PredictionError, match="is on the validation side of the folds 0 and 1"):
        predict_out_of_fold(EXPERIMENT, 0)


def test_what_cannot_be_predicted() -> None:
    EXPERIMENT.mkdir()
    with pytest.raises(RunError, match="there is no trial 0 in experiment, which has 0"):
        predict_out_of_fold(EXPERIMENT, 0)
    (EXPERIMENT / "trial-0000-seed-2-fold-0").mkdir()
    with pytest.raises(RunError, match="trial 0 of experiment has no members that were trained"):
        predict_out_of_fold(EXPERIMENT, 0)
    fit_members(config(), STRATIFIED, 1)
    with pytest.raises(PredictionError, match="the config has no writer of predictions"):
        predict_out_of_fold(EXPERIMENT, 0)
    (EXPERIMENT / "trial-0000-seed-1-fold-0").rename(EXPERIMENT / "trial-0000-seed-1")
    with pytest.raises(RunError, match="trial 0 of experiment has no folds"):
        predict_out_of_fold(EXPERIMENT, 0)
    assert [member.fold for member in fitted_members(EXPERIMENT, 0)] == [None]


def test_the_mean_of_all_models() -> None:
    inputs = with_writers(config(train_dataloader=LOADER, predict_dataloader={**LOADER, "shuffle": False}))
    fit_members(inputs, STRATIFIED, 3)
    home = predict_ensemble(EXPERIMENT, 0)
    each = [rows(home / f"trial-0000-seed-1-fold-{fold}" / "predictions.csv") for fold in range(3)]
    for number, row in enumerate(rows(home / "predictions.csv")):
        assert float(row["pred"]) == pytest.approx(sum(float(table[number]["pred"]) for table in each) / 3)
        assert row["target"] == each[0][number]["target"]
    assert number == jobs.SAMPLES - 1


def test_a_model_that_is_not_trained_to_its_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    fit_members(with_writers(config()), STRATIFIED, 3)
    record = EXPERIMENT / "trial-0000-seed-1-fold-1" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "failed"}))
    predict_out_of_fold(EXPERIMENT, 0)
    (warning,) = (each.getMessage() for each in caplog.records if "not at its end" in each.getMessage())
    assert warning.startswith("the training of trial-0000-seed-1-fold-1 is not at its end (failed)")


def test_a_mean_of_nothing_is_no_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tables: dict[str, Columns] = {"one": {"digit": ["3"]}, "other": {"digit": ["5"]}}
    out_of_fold._write(tmp_path, Path("predictions.csv"), tables)
    assert {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.csv")} == {
        "one/predictions.csv",
        "other/predictions.csv",
    }
    assert "there is no mean of digit" in caplog.text


def test_means_of_columns() -> None:
    names = {"name": ["a", "b"]}
    one = {**names, "pred": ["0.5", "1"], "class": ["0", "1"], "all": ["[1.0, 2]", "[3, 4]"], "text": ["x", "y"]}
    other = {**names, "pred": ["1.5", "2"], "class": ["1", "1"], "all": ["[2.0, 2]", "[5, 4]"], "text": ["x", "z"]}
    averaged, left_out = mean([one, other])
    assert averaged == {"name": ["a", "b"], "pred": [1.0, 1.5], "all": [[1.5, 2.0], [4.0, 4.0]]}
    assert left_out == ["class", "text"]


def test_tables_read_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    columns: dict[str, list[Any]] = {"index": [0, 1], "text": ['a,"b"\r\n', ""], "pred": [0.1, 1e-300]}
    for name in ("t.csv", "t.parquet"):
        write_table(tmp_path / name, columns)
        read = read_table(tmp_path / name)
        if name == "t.csv":
            assert read == {key: [str(value) for value in values] for key, values in columns.items()}
        else:
            assert read == columns
    write_table(tmp_path / "none.csv", {"index": [], "pred": []})
    assert read_table(tmp_path / "none.csv") == {"index": [], "pred": []}
