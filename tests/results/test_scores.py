"""The scores of sides: values of members, tests of their checkpoints, samples; and records that hold anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lighter
from lighter.errors import RunError
from lighter.results.scores import stage_of
from lighter.runs.filter import mode_of_metric
from tests.results.jobs import (
    BASE,
    DATA,
    OURS,
    add_report,
    compared,
    make_fit,
    make_fits,
    make_sweep,
)

GENERATOR = np.random.default_rng(0)


def test_a_value_that_is_not_finite_has_no_mean(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="val/metrics/accuracy/epoch of 2026-11-22/11-00-02-ours is nan, so `ours` has no"
    ):
        compared(tmp_path, {}, {"values": (0.9, 0.9, float("nan"))})


def test_tests_are_found_by_the_checkpoint_that_they_used(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    for hour, name, values in ((14, "a", BASE), (15, "b", OURS)):
        folder = make_sweep(root, name, [values], hour=hour)
        for index, value in enumerate(values[:4] if name == "b" else values):
            member = folder / f"trial-0000-seed-{index + 1}"
            checkpoint = str((member / "checkpoints/best.ckpt").relative_to(tmp_path))
            facts = {"stage": "test", "checkpoint": checkpoint, "cwd": str(tmp_path), "data": {"test": DATA["val"]}}
            for second, found in ((10, 0.0), (20, value)):  # the newer of two tests counts
                home = root / f"2026-11-30/{hour}-{index:02}-{second}-{name}"
                make_fit(home, value, index + 1, metrics={"test/metrics/accuracy/epoch": found}, **facts)
    comparison = lighter.compare("a", "b", metric="test/metrics/accuracy", root=root)
    assert [row.values for row in comparison.rows] == [OURS[:4], BASE]
    assert comparison.rows[0].side.left_out == ("15-00-00-b/trial-0000-seed-5: not tested",)
    assert not any("validation data" in note for note in comparison.notes)
    for record in root.glob("2026-11-30/15-*/run.json"):
        record.write_text(record.read_text().replace("checkpoints/best.ckpt", "checkpoints/last.ckpt"))
    with pytest.raises(RunError, match=r"tuning: `a` was tested with `best\.ckpt` and `b` with `last\.ckpt`"):
        lighter.compare("a", "b", metric="test/metrics/accuracy", root=root)
    make_sweep(root, "c", [BASE], hour=16)
    with pytest.raises(RunError, match=r"no run of `c` was tested. For each of them: lighter test .*--ckpt_path last"):
        lighter.compare("a", "c", metric="test/metrics/accuracy", root=root)
    (root / "experiments/2026-11-29/16-00-00-c/trial-0000-seed-1/checkpoints").mkdir()
    (root / "experiments/2026-11-29/16-00-00-c/trial-0000-seed-1/checkpoints/best.ckpt").touch()
    with pytest.raises(RunError, match="--ckpt_path best"):
        lighter.compare("a", "c", metric="test/metrics/accuracy", root=root)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val/loss/epoch", "val"),
        ("val_loss", "val"),
        ("valid_loss", "val"),
        ("validation/acc", "val"),
        ("train_loss", "train"),
        ("training_acc", "train"),
        ("test_acc", "test"),
        ("test/metrics/accuracy", "test"),
        ("value_loss", ""),
        ("loss", ""),
        ("valley/depth", ""),
    ],
)
def test_what_a_metric_was_measured_in_is_in_its_name(metric: str, mode: str) -> None:
    assert mode_of_metric(metric) == mode
    assert stage_of(metric) == ("test" if mode == "test" else "fit")


def test_names_as_most_plain_modules_have_them(tmp_path: Path) -> None:
    """`val_loss` comes before `train_loss`, is of validation data, and depends on the loss function."""
    for name, hour, values in (("base", 10, BASE), ("ours", 11, OURS)):
        for index, value in enumerate(values):
            folder = tmp_path / "2026-11-22" / f"{hour}-00-{index:02}-{name}"
            make_fit(folder, value, index + 1, metrics={"train_loss": 1.0, "val_loss": 1 - value})
    comparison = lighter.compare("base", "ours", root=tmp_path)
    assert (comparison.metric, comparison.rows[0].side.name) == ("val_loss", "ours")
    assert any("These are values of the validation data" in note for note in comparison.notes)
    for path in tmp_path.glob("*/*-ours/config.yaml"):
        path.write_text(path.read_text().replace("CrossEntropyLoss", "NLLLoss"))
    with pytest.raises(RunError, match="`criterion` differs between"):
        lighter.compare("base", "ours", root=tmp_path)


def test_tests_by_such_a_name(tmp_path: Path) -> None:
    fits = {
        name: make_sweep(tmp_path, name, [values], hour=hour)
        for name, hour, values in (("a", 14, BASE), ("b", 15, OURS))
    }
    for hour, (name, folder) in enumerate(fits.items(), 16):
        for index, value in enumerate(BASE if name == "a" else OURS):
            checkpoint = str(folder.absolute() / f"trial-0000-seed-{index + 1}/checkpoints/last.ckpt")
            facts = {"stage": "test", "checkpoint": checkpoint, "data": {"test": DATA["val"]}}
            make_fit(tmp_path / f"2026-11-30/{hour}-{index:02}-00-{name}", value, metrics={"test_acc": value}, **facts)
    comparison = lighter.compare("a", "b", metric="test_acc", root=tmp_path)
    assert [row.values for row in comparison.rows] == [OURS, BASE]


@pytest.mark.parametrize("kind", ["score", "loss", "right"])
def test_scores_of_samples_are_those_whose_mean_is_the_metric(kind: str, tmp_path: Path) -> None:
    from lighter.results.scores import scores
    from lighter.results.sides import sides_of

    score, index = np.array([-0.1, -0.4, -0.2, -0.9]), np.array([7, 3, 5, 1])
    value, metric, is_maximized = {
        "score": (float(score.mean()), "val/loglik", True),
        "loss": (-float(score.mean()), "val/loss", False),
        "right": (0.75, "val/accuracy", True),
    }[kind]
    for hour in (10, 11):
        run = make_fit(tmp_path / f"2026-11-22/{hour}-00-00-a", 0.5, metrics={metric: value, "val/auc": 0.123})
        target, prediction = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0])
        add_report(run, index=index, score=score, target=target, prediction=prediction)
    side = sides_of(["10-00", "11-00"], tmp_path)[0]
    [samples] = scores(side, metric, is_maximized=is_maximized).samples
    assert samples is not None
    expected = {"score": score, "loss": score, "right": (target == prediction).astype(float)}[kind]
    assert samples == dict(zip(index.tolist(), expected.tolist(), strict=True))
    assert scores(side, "val/auc", is_maximized=True).samples == ()


DAMAGED = {
    "report": ("report/val.json", b"{"),
    "list": ("report/val.json", b"[]"),
    "number": ("report/val.json", b'{"scores": 3}'),
    "arrays": ("report/val-samples.npz", b"PK\x03\x04"),
    "empty": ("report/val-samples.npz", b""),
    "bits": ("report/val-samples.npz", None),
    "outside": ("report/val.json", b'{"scores": "../../secret.npz"}'),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_reports_are_no_reports(name: str, tmp_path: Path) -> None:
    score = np.full(40, 0.5) + GENERATOR.normal(size=40) * 0.1
    for hour in (10, 11):
        run = make_fit(tmp_path / f"2026-11-22/{hour}-00-00-a", 0.5, metrics={"val/x": float(score.mean())})
        add_report(run, index=np.arange(40), score=score + hour)
        file, content = DAMAGED[name]
        # without other content, the arrays' own bytes with the headers of a zip file kept
        whole = (run / file).read_bytes() if content is None else b""
        damaged = whole[:100] + bytes(each ^ 0xFF for each in whole[100:250]) + whole[250:]
        (run / file).write_bytes(damaged if content is None else content)
    assert lighter.compare("10-00", "11-00", root=tmp_path).rows[1].against.pairing != "sample"


def test_scores_that_are_no_numbers_are_no_scores(tmp_path: Path) -> None:
    for hour in (10, 11):
        run = make_fit(tmp_path / f"2026-11-22/{hour}-00-00-a", 0.5, metrics={"val/x": 0.5})
        add_report(run, index=np.arange(2), score=np.array(["a", "b"]))
    assert lighter.compare("10-00", "11-00", root=tmp_path).rows[1].against.pairing != "sample"


HOSTILE = {
    "split": {"hash": [1], "train": "x", "val": {}},
    "data": {"val": [3, {"length": {}}], "train": "x"},
    "trainer": {"devices": "many", "nodes": -1, "threads": []},
    "hardware": {"cpu": {"a": 1}, "cpus": "x"},
    "software": {"packages": {"torch": "2"}},
    "seed": "one",
    "seconds": None,
}


@pytest.mark.parametrize("key", HOSTILE)
def test_records_may_hold_anything(key: str, tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE[:3])
    make_fits(tmp_path, "ours", OURS[:3], hour=11)
    for path in tmp_path.glob("*/*-base/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: HOSTILE[key]}))
    comparison = lighter.compare("base", "ours", root=tmp_path, allow=["all"])
    assert comparison.verdict
    assert comparison.checklist()
    assert json.dumps(comparison.public(), allow_nan=False)
