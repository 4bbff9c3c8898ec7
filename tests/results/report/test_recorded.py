"""Evaluations and pictures in the folders of runs, those of a stranger too."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lighter.results.arrays import read_arrays
from lighter.results.report import recorded
from lighter.results.report.groups import grouped
from lighter.results.report.recorded import Recorded, disagreements
from lighter.results.report.subject import entry_of
from lighter.runs.read import read_run
from tests.results.report.jobs import evaluation, make_fit, write_evaluation, write_picture


def read(*runs: Path) -> Recorded:
    entries = [entry_of(read_run(run)) for run in runs]
    return Recorded().read(entries, grouped(entries))


def test_an_evaluation_has_its_sheets_as_images_within_the_page(tmp_path: Path) -> None:
    run = make_fit(tmp_path)
    write_evaluation(run, evaluation())
    [found] = read(run).evaluations
    assert (found["run"], found["mode"], found["confusion"]) == (0, "val", [[14, 1], [2, 13]])
    assert found["sheets"][0]["image"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert found["sheets"][0]["samples"][0]["target"] == "cat"


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"a": ' * 300 + "1" + "}" * 300])
def test_a_damaged_file_is_left_out_with_a_note(tmp_path: Path, text: str) -> None:
    run = make_fit(tmp_path)
    (run / "report").mkdir()
    (run / "report" / "val.json").write_text(text)
    found = read(run)
    assert found.evaluations == [] or found.evaluations[0]["run"] == 0
    assert found.notes or found.evaluations


def test_nan_is_null_and_what_is_no_picture_or_elsewhere_is_not_embedded(tmp_path: Path) -> None:
    run = make_fit(tmp_path)
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    sheets = [{"name": "worst", "file": "../../../secret.png"}, {"name": "best", "file": "val-worst.png"}, "no sheet"]
    write_evaluation(run, evaluation(metrics={"f1": math.nan}, sheets=sheets), image=b"<svg onload=alert(1)>")
    [found] = read(run).evaluations
    assert found["metrics"] == {"f1": None}
    assert [sheet["image"] for sheet in found["sheets"]] == [None, None]


def test_a_page_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_MOST_CHARACTERS", 1000)
    runs = [make_fit(tmp_path, number, seed=number) for number in range(3)]
    for run in runs:
        write_evaluation(run, evaluation())
    found = read(*runs)
    assert [each["run"] for each in found.evaluations] == [0]
    assert found.notes == ["2 evaluations and pictures are left out, as the page would be too large."]


def test_the_last_pictures_are_shown_in_the_order_of_steps(tmp_path: Path) -> None:
    run = make_fit(tmp_path)
    for step in (40, 200, 120):
        write_picture(run, step)
    assert [each["step"] for each in read(run).pictures] == [40, 120, 200]


def test_samples_on_which_two_groups_differ_most(tmp_path: Path) -> None:
    one, other = make_fit(tmp_path, 0, lr=0.1), make_fit(tmp_path, 1, lr=0.01)
    write_evaluation(one, evaluation(), scores=[0.0, -1.0, -2.0])
    write_evaluation(other, evaluation(), scores=[0.0, -5.0, -2.5])
    entries = [entry_of(read_run(run)) for run in (one, other)]
    [found] = disagreements(entries, grouped(entries))
    assert (found["mode"], found["shared"], [row["index"] for row in found["samples"]]) == ("val", 3, [1, 2, 0])
    assert found["samples"][0]["scores"] == [-1.0, -5.0]
    np.savez(other / "report" / "val-samples.npz", index=np.array([object()]), score=[1.0])
    assert disagreements(entries, grouped(entries)) == []


def two_scored(root: Path, **facts: object) -> tuple[Path, Path]:
    one = make_fit(root, 0, lr=0.1)
    other = make_fit(root, 1, lr=0.01, **facts)
    for run in (one, other):
        write_evaluation(run, evaluation(), scores=[0.0, -1.0])
    return one, other


def differing(*runs: Path) -> int:
    entries = [entry_of(read_run(run)) for run in runs]
    return len(disagreements(entries, grouped(entries)))


def test_samples_of_other_data_are_not_the_same_by_their_indices(tmp_path: Path) -> None:
    def val(length: int) -> dict[str, object]:
        return {"val": [{"class": "Digits", "length": length}]}

    one, other = two_scored(tmp_path, data=val(3))
    assert differing(one, other) == 1  # nothing is known of the data of the first
    record = json.loads((one / "run.json").read_text())
    for length, count in ((3, 1), (4, 0)):
        (one / "run.json").write_text(json.dumps({**record, "data": val(length)}))
        assert differing(one, other) == count


def test_samples_with_other_targets_are_not_the_same(tmp_path: Path) -> None:
    one, other = two_scored(tmp_path)
    for run, targets in ((one, [0, 1]), (other, [0, 2])):
        np.savez(run / "report" / "val-samples.npz", index=[0, 1], score=[0.0, 1.0], target=targets)
    assert differing(one, other) == 0


@pytest.mark.parametrize("kind", ["empty", "cut", "flipped", "one array", "text"])
def test_damaged_arrays_are_left_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, index=np.arange(300), score=np.linspace(0, 1, 300))
    content = path.read_bytes()
    damaged = {"empty": b"", "cut": content[: len(content) // 2], "text": b"no zip", "one array": b""}
    if kind == "flipped":
        for place in range(0, len(content), 3):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            read_arrays(path)
        return
    path.write_bytes(damaged[kind])
    if kind == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    assert read_arrays(path) is None


def test_each_dataloader_has_its_evaluation(tmp_path: Path) -> None:
    run = make_fit(tmp_path)
    write_evaluation(run, evaluation())
    for name, loader in (("val-dataloader10", 10), ("val-dataloader2", 2)):
        (run / "report" / f"{name}.json").write_text(json.dumps(evaluation(dataloader=loader)))
    (run / "report" / "value.json").write_text("{}")
    assert [(each["mode"], each.get("dataloader")) for each in read(run).evaluations] == [
        ("val", None),
        ("val", 2),
        ("val", 10),
    ]
