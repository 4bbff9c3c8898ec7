"""kill -9 at random moments of a prediction, again and again until it is whole.

A warm process forks one that predicts, so that a kill costs a fraction of a second. After each kill, no file has its
final name unless it is whole, and the partial ones can be read; in the end, everything equals an uninterrupted run.
"""

from __future__ import annotations

import csv
import io
import os
import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import lighter.callbacks
from lighter import Runner
from tests.callbacks.jobs import config
from tests.forks import launch

WRITERS = ("csv", "parquet", "files")
SIZE, BATCH = 150, 5


def predict(processes: int, resume: str | None, writer: str, **module: Any) -> Any:
    job = config(writer, size=SIZE, batch_size=BATCH, **module)
    if processes > 1:
        job["trainer"] |= {"strategy": "ddp", "devices": processes}
    torch.set_num_threads(1)
    return Runner().execute("predict", [] if resume else [job], resume=resume, return_predictions=False)


OF_THE_RUN = {".lock", "run.log", "events.jsonl", "run.json", "config.yaml", "origins.yaml", "hparams.yaml"}


def contents(folder: Path) -> dict[str, bytes]:
    """What writers left, partial or not."""
    kept = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OF_THE_RUN and not path.name.startswith(".run.json")
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def check_partial(folder: Path, whole: dict[str, bytes], final: dict[str, int], rows: dict[str, list[Any]]) -> None:
    """Whatever the moment: names are of whole files, those are never written again, and partial files can be read."""
    for name, data in contents(folder).items():
        path = folder / name
        if name in whole:
            assert data == whole[name], f"{name} is not whole"
            assert final.setdefault(name, path.stat().st_ino) == path.stat().st_ino, f"{name} was written again"
        elif ".partial" in path.name and path.suffix == ".csv":
            found = read_csv(data[: data.rfind(b"\r\n") + 2])
            assert [row for row in found[:-1] if row not in rows["csv"]] == []  # the last row may be torn
        elif path.suffix == ".arrows":
            check_stream(data)


def read_csv(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def check_stream(data: bytes) -> None:
    try:
        reader = pa.ipc.open_stream(data)
        while True:
            assert reader.read_next_batch().num_rows == BATCH
    except (StopIteration, OSError, pa.ArrowInvalid):
        pass  # the end, clean or torn


def kill_often(writer: str, kills: int, processes: int, seed: int, place: Path) -> None:
    pa.array([1]), lighter.callbacks.ParquetWriter  # what is imported here, no forked process has to import
    tried = [undisturbed(writer, processes, place / f"reference-{number}") for number in range(3)]
    lasts, whole = min(seconds for seconds, _ in tried), tried[0][1]
    assert all(other == whole for _, other in tried)
    assert whole
    assert not any("partial" in name or "progress" in name for name in whole)
    table = next((data for name, data in whole.items() if name.endswith(".csv")), b"")
    rows = {"csv": read_csv(table)}
    moments, done, number = random.Random(seed), 0, 0
    while done < kills:
        number += 1
        os.chdir(place)
        desk = place / f"run-{number}"
        desk.mkdir()
        os.chdir(desk)
        done += kill_until_whole(writer, processes, moments, lasts, (whole, rows))


def undisturbed(writer: str, processes: int, desk: Path) -> tuple[float, dict[str, bytes]]:
    """How long a prediction takes that nobody kills, and what it writes."""
    desk.mkdir()
    os.chdir(desk)
    begin = time.monotonic()
    assert launch(lambda: predict(processes, None, writer, seconds=0.002), processes, None)
    [folder] = desk.glob("*/*")
    return time.monotonic() - begin, contents(folder)


def kill_until_whole(writer: str, processes: int, moments: random.Random, lasts: float, expected: Any) -> int:
    """Run, kill, go on, kill, ... until it ends by itself; returns the number of kills."""
    whole, rows = expected
    final: dict[str, int] = {}
    kills, resume = 0, None
    while True:
        job = lambda: predict(processes, resume, writer, calls=os.path.abspath("calls.txt"), seconds=0.002)  # noqa: B023, E731
        # later and later: a start may take longer than the undisturbed ones that were timed
        ended = launch(job, processes, moments.uniform(0, lasts * (1 + kills / 10)))
        folders = list(Path.cwd().glob("*-*-*/*"))
        has_begun = any(
            any(folder.glob(f"*{kind}*")) for folder in folders for kind in (".progress", "rows.", "files.index")
        )
        for folder in folders:
            check_partial(folder, whole, final, rows)
        if ended:
            assert contents(folders[-1]) == whole
            repeated = [calls - 1 for calls in count_calls().values()]
            assert sum(repeated) <= kills * processes
            assert max(repeated) <= kills
            return kills
        kills += 1
        if has_begun:
            resume = str(folders[-1])
        else:  # killed before anything was to be gone on with
            for folder in folders:
                for path in sorted(folder.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
                folder.rmdir()


def count_calls() -> dict[str, int]:
    lines = Path("calls.txt").read_text().split("\n")[:-1]
    return {line: lines.count(line) for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_few_kills(writer: str, own_place: Path) -> None:
    kill_often(writer, 4, 1, seed=1, place=own_place)


@pytest.mark.faults
def test_a_few_kills_of_two_processes(own_place: Path) -> None:
    kill_often("csv", 3, 2, seed=1, place=own_place)


@pytest.mark.faults
@pytest.mark.parametrize("writer", WRITERS)
def test_a_hundred_kills(writer: str, own_place: Path) -> None:
    kill_often(writer, 100, 1, seed=2, place=own_place)


@pytest.mark.faults
@pytest.mark.parametrize("writer", WRITERS)
def test_kills_of_two_processes(writer: str, own_place: Path) -> None:
    kill_often(writer, 15, 2, seed=3, place=own_place)
