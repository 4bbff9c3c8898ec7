"""A prediction whose partial files are damaged goes on before the damage, or says why it cannot: never a wrong row."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.callbacks import BaseWriter, CsvWriter, FileWriter, ParquetWriter
from lighter.callbacks.writers.part import Part
from lighter.callbacks.writers.progress import encoded
from lighter.errors import PredictionError
from tests.callbacks.jobs import StopAt
from tests.callbacks.test_kills import contents
from tests.slow import mostly_slow, slow_but

WRITERS: dict[str, Callable[[], BaseWriter]] = {
    "csv": lambda: CsvWriter("rows.csv", ["name", "text", "pred"]),
    "parquet": lambda: ParquetWriter("rows.parquet", ["name", "pred"]),
    "files": lambda: FileWriter("files", "vector", "tensor", "name"),
}
PROGRESS = {"csv": "rows.csv.progress", "parquet": "rows.parquet.progress", "files": "files.index.csv.progress"}
ROWS = {"csv": "rows.partial.csv", "parquet": "rows.partial.arrows", "files": "files.index.partial.csv"}


class Blobs(BaseWriter):
    def write(self, outputs, batch, batch_idx, dataloader_idx):
        self.path.mkdir(exist_ok=True)
        torch.save(outputs["pred"], self.path / f"{batch_idx}.pt")


def stop(predict: Any, writer: BaseWriter, place: Path, at: int = 6) -> None:
    place.mkdir(exist_ok=True)
    with pytest.raises(RuntimeError, match="stopped by the test"):
        predict(writer, StopAt(at), default_root_dir=place)


def go_on(predict: Any, writer: BaseWriter, place: Path) -> None:
    writer.resume = True
    predict(writer, default_root_dir=place)


def flip(path: Path, position: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def swap(path: Path, first: int, second: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))


def remove_line(path: Path, number: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


def damage(place: Path, kind: str, what: str) -> None:
    progress, rows = place / PROGRESS[kind], place / ROWS[kind]
    draw = random.Random(what)
    {
        "the rows' header": lambda: flip(rows, 2, 0),
        "the first row": lambda: flip(rows, 30 if kind != "parquet" else rows.stat().st_size // 3, 3),
        "the last row": lambda: flip(rows, rows.stat().st_size - 4, 1),
        "the first note": lambda: flip(progress, 12, 0),
        "a note": lambda: flip(progress, progress.stat().st_size // 2, draw.randrange(8)),
        "the last note": lambda: flip(progress, progress.stat().st_size - 20, 0),
        "the end of the last note": lambda: flip(progress, progress.stat().st_size - 1, 0),
        "swapped notes": lambda: swap(progress, 3, 4),
        "swapped ends": lambda: swap(progress, 1, -1),
        "a lost note": lambda: remove_line(progress, 3),
        "lost rows": lambda: os.truncate(rows, rows.stat().st_size // 2),
        "no rows": lambda: rows.unlink(),
    }[what]()


DAMAGES = (
    *("the rows' header", "the first row", "the last row", "the first note", "a note", "the last note"),
    *("the end of the last note", "swapped notes", "swapped ends", "a lost note", "lost rows", "no rows"),
)


@pytest.fixture
def whole(predict: Any, own_place: Path) -> Callable[[str], dict[str, bytes]]:
    def of(kind: str) -> dict[str, bytes]:
        (own_place / "whole").mkdir()
        predict(WRITERS[kind](), default_root_dir=own_place / "whole")
        return contents(own_place / "whole")

    return of


@pytest.mark.parametrize("kind", mostly_slow(WRITERS))
def test_whatever_is_damaged_is_predicted_again(predict: Any, own_place: Path, whole: Any, kind: str) -> None:
    expected, place = whole(kind), own_place / "stopped"
    for what in DAMAGES:
        stop(predict, WRITERS[kind](), place)
        damage(place, kind, what)
        go_on(predict, WRITERS[kind](), place)
        assert contents(place) == expected, what
        shutil.rmtree(place)


@pytest.mark.parametrize("kind", mostly_slow(WRITERS))
def test_every_flipped_bit_is_noticed(predict: Any, own_place: Path, whole: Any, kind: str) -> None:
    """A few of them are flipped in each file, and the prediction is killed again before it has made up for it."""
    expected, kept, place = whole(kind), own_place / "kept", own_place / "stopped"
    stop(predict, WRITERS[kind](), kept)
    draw = random.Random(25)
    for name in (PROGRESS[kind], ROWS[kind]) * 6:
        shutil.copytree(kept, place)
        flip(place / name, draw.randrange((place / name).stat().st_size), draw.randrange(8))
        writer = WRITERS[kind]()
        writer.resume = True
        stop(predict, writer, place, at=8)
        go_on(predict, WRITERS[kind](), place)
        assert contents(place) == expected, name
        shutil.rmtree(place)


@pytest.mark.parametrize("change", [lambda file: flip(file, -5, 2), Path.unlink], ids=["flipped", "gone"])
@pytest.mark.parametrize("number", slow_but([0, 20, 41], 20))
def test_a_files_own_damage(predict: Any, own_place: Path, whole: Any, change: Any, number: int) -> None:
    expected, place = whole("files"), own_place / "stopped"
    stop(predict, WRITERS["files"](), place)
    change(sorted((place / "files").glob("*.pt"))[number])
    go_on(predict, WRITERS["files"](), place)
    assert contents(place) == expected


def test_what_was_damaged_is_said(predict: Any, own_place: Path, caplog: Any) -> None:
    stop(predict, WRITERS["csv"](), own_place)
    damage(own_place, "csv", "the last row")
    go_on(predict, WRITERS["csv"](), own_place)
    assert "rows.partial.csv is not as it was written, after 35 samples. What follows is" in caplog.text


def test_a_writer_of_the_users_is_refused(predict: Any, own_place: Path) -> None:
    stop(predict, Blobs("blobs"), own_place)
    swap(own_place / "blobs.progress", 2, 3)
    before = contents(own_place)
    with pytest.raises(PredictionError, match=r"progress is not as .* after 7 samples\. .* and predict again"):
        go_on(predict, Blobs("blobs"), own_place)
    assert contents(own_place) == before


def test_a_part_of_an_earlier_version_goes_on(predict: Any, own_place: Path, whole: Any) -> None:
    expected, place = whole("files"), own_place / "stopped"
    stop(predict, WRITERS["files"](), place)
    progress = place / PROGRESS["files"]
    lines = [json.loads(line) for line in progress.read_bytes().splitlines()]
    of_now = ("check", "crc", "files", "crcs")
    old = [{key: value for key, value in line.items() if key not in of_now} for line in lines]
    progress.write_text("".join(json.dumps(line) + "\n" for line in old))
    go_on(predict, WRITERS["files"](), place)
    assert contents(place) == expected


def test_a_part_is_of_one_process(tmp_path: Path) -> None:
    """Though the process reads its notes again meanwhile, which would end a lock of POSIX's kind."""
    part, other = (Part(tmp_path / "rows", tmp_path / "notes") for _ in range(2))
    part.create({})
    assert list(part.batches()) == []
    with pytest.raises(PredictionError, match="another process writes"):
        other.take()
    part.close()
    assert other.take()
    other.close()


def test_a_part_that_another_process_creates_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, other = (Part(tmp_path / "rows", tmp_path / "notes") for _ in range(2))
    part.create({})
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as it was when the other one looked
    with pytest.raises(PredictionError, match="notes is there: part of a prediction"):
        other.create({})
    part.close()


def test_a_line_says_what_came_before_it() -> None:
    first, check = encoded({"ended": True}, 0)
    assert first == b'{"ended": true, "check": %d}\n' % check
    assert encoded({"ended": True}, check)[0] != first
