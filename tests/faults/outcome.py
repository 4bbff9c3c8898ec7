"""What a fit came to, on disk: checkpoints, logged rows, and what was served; and where two of them differ."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.faults.jobs import SERVED, START

IN_BETWEEN = ("step", "odd")  # checkpoints that are not of the end
# the config may be changed; that callback saves when a test wants it; those states are for other trainers
AFTER_EPOCH = "on_train_epoch_end."  # logged values of an epoch that is over, which nothing reads any more
LEFT_OUT = ("config", "StepCheckpoint", "combined_loader")
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Outcome:
    """What is left of a fit.

    Attributes:
        checkpoints: what is in each, by name; of those that are there at the end.
        rows: those of `metrics.csv`, in order, without empty values.
        served: by process, then by start: the lines of what was served.
    """

    checkpoints: Mapping[str, Any]
    rows: Rows
    served: Mapping[str, list[list[str]]]


def outcome(folder: Path, desk: Path) -> Outcome:
    """What is left of a fit in a run's folder, which was started at a desk."""
    files = [path for path in folder.glob("checkpoints/*.ckpt") if path.stem not in IN_BETWEEN]
    found = {path.stem: _plain(torch.load(path, weights_only=True), folder) for path in files}
    return Outcome(found, rows(folder), served(desk))


def rows(folder: Path) -> Rows:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def served(desk: Path) -> dict[str, list[list[str]]]:
    starts = {}
    for path in sorted(desk.glob(f"{SERVED}.*")):
        parts = path.read_text().split(f"{START}\n")[1:]
        starts[path.suffix] = [part.splitlines() for part in parts]
    return starts


def differences(expected: Outcome, found: Outcome, from_batch: int | None = None) -> Iterator[str]:
    """What differs from a fit that nobody cut short: nothing, if going on is exact.

    Args:
        from_batch: the batches that had been trained where the last start went on.
    """
    if expected.checkpoints.keys() != found.checkpoints.keys():
        yield f"checkpoints {', '.join(found.checkpoints)} for {', '.join(expected.checkpoints)}"
    for name in expected.checkpoints.keys() & found.checkpoints.keys():
        one, other = expected.checkpoints[name], found.checkpoints[name]
        for part in {**one, **other}:
            wrong = list(differing(one.get(part), other.get(part), ""))
            if wrong:
                yield f"{name}: {len(wrong)} of {part}, {wrong[0]}"
    if expected.rows != found.rows:
        pairs = zip(expected.rows, found.rows, strict=False)
        first = next(
            (n for n, (one, other) in enumerate(pairs) if one != other), min(map(len, (expected.rows, found.rows)))
        )
        shown = [rows[first] if first < len(rows) else None for rows in (expected.rows, found.rows)]
        yield f"{len(found.rows)} logged rows for {len(expected.rows)}; row {first}: {shown[1]} for {shown[0]}"
    for process, [whole] in expected.served.items():
        starts = found.served.get(process, [])
        if from_batch is None:
            yield from _served_otherwise(whole, starts)
        elif starts != [_rest(whole, from_batch, len(starts[-1]))]:
            yield f"served {len(starts[-1])} batches from {starts[-1][:1]}"


def _rest(whole: list[str], batches: int, count: int) -> list[str]:
    """What is served after some batches; the validation that follows them only if that is not over."""
    trained = [n for n, line in enumerate(whole) if line.startswith("train")]
    begin = trained[batches - 1] + 1 if batches else 0
    while len(whole) - begin > count and whole[begin].startswith("val"):
        begin += 1
    return whole[begin:]


def _served_otherwise(whole: Sequence[str], starts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each start has to serve a piece of the whole, that of the last start to its end."""
    end = 0
    for lines in starts:
        begin = whole.index(lines[0]) if lines and lines[0] in whole else end
        piece = list(whole[begin : begin + len(lines)])
        if list(lines) != piece or begin > end:
            number = next((n for n, (one, other) in enumerate(zip(lines, piece, strict=False)) if one != other), 0)
            wanted = whole[end] if begin > end else [*piece, "nothing"][number]
            yield f"served {lines[number] if lines else 'nothing'!r} for {wanted!r}"
            return
        end = begin + len(lines)
    if end < len(whole):
        yield f"served {end} of {len(whole)} steps"


def _plain(value: Any, folder: Path) -> Any:
    """Without what may differ, and with the folder's path, which is another in every run, as `RUN`."""
    if isinstance(value, Mapping):
        kept = {key: one for key, one in value.items() if key not in LEFT_OUT and not str(key).startswith(AFTER_EPOCH)}
        return {_plain(key, folder): _plain(one, folder) for key, one in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, folder) for one in value]
    return re.sub(rf"\S*{folder.parent.name}/{folder.name}", "RUN", value) if isinstance(value, str) else value


def differing(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            yield from differing(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differing(*pair, f"{path}/{index}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or _bytes(one) != _bytes(other):
            yield f"{path}: other values"
    elif one != other and not (one != one and other != other):  # NaN for NaN
        yield f"{path}: {str(other)[:60]} for {str(one)[:60]}"


def _bytes(tensor: torch.Tensor) -> bytes:
    """What is in memory: NumPy has no bfloat16."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
