"""Read what callbacks recorded in the folders of runs: evaluations (`RUN/report/MODE.json`) and pictures.

Files may be anybody's: what is no evaluation is left out with a note, and an image has to be a PNG. There is a budget
for both, so that a page of many runs stays small; the first runs of all groups come first.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from lighter.errors import RunError
from lighter.files.atomic import read_text
from lighter.results.arrays import read_arrays
from lighter.results.report.data import differs_in_data
from lighter.results.report.groups import Group
from lighter.results.report.subject import Entry

REPORT, PICTURES = "report", "pictures"
MODES = ("val", "test")
_STEM = re.compile(rf"(?P<mode>{'|'.join(MODES)})(?:-dataloader(?P<loader>\d+))?")
_MOST_CHARACTERS = 900_000  # of evaluations as JSON
_MOST_IMAGES = 1_200_000  # characters of all images, in base64
_MOST_OF_FILE = 20 * 2**20
_MOST_PICTURES = 12  # of a run: the last ones
_MOST_DISAGREEMENTS = 10
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH = 12
_DIGITS = 6
Data = dict[str, Any]


@dataclass
class Recorded:
    """Evaluations and pictures of runs, as data of the page.

    Attributes:
        evaluations: the recorded files, each with the number of its `run` and its sheets as embedded images.
        pictures: the sheets that were logged while a run trained.
        notes: a line for each thing that was left out.
    """

    evaluations: list[Data] = field(default_factory=list)
    pictures: list[Data] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _images_left: int = _MOST_IMAGES
    _left_out: int = 0

    def read(self, entries: Sequence[Entry], groups: Sequence[Group]) -> Recorded:
        """Read the evaluations and pictures of all runs, within the budget."""
        characters = 0
        for number in _round_robin(groups):
            folder = entries[number].run.folder.path / REPORT
            for mode, stem in _stems(folder):
                data = self._evaluation(folder / f"{stem}.json", mode)
                if data is None:
                    continue
                size = len(json.dumps(data))
                if characters + size > _MOST_CHARACTERS:
                    self._left_out += 1
                    continue
                characters += size
                data["sheets"] = [self._sheet(each, entries[number]) for each in _dicts(data.get("sheets"))]
                self.evaluations.append({"run": number, **data})
            self._add_pictures(number, entries[number].run.folder.path / PICTURES)
        if self._left_out:
            self.notes.append(
                f"{self._left_out} evaluations and pictures are left out, as the page would be too large."
            )
        return self

    def _evaluation(self, path: Path, mode: str) -> Data | None:
        try:
            data = _json(path)
        except FileNotFoundError:
            return None
        except RunError as error:
            self.notes.append(str(error))
            return None
        return {**data, "mode": mode}

    def _sheet(self, sheet: Data, entry: Entry) -> Data:
        name = str(sheet.get("file") or "")
        return {**sheet, "image": self._image(entry.run.folder.path / REPORT / Path(name).name) if name else None}

    def _add_pictures(self, number: int, folder: Path) -> None:
        found = sorted(folder.glob("*.json"), key=_age)[-_MOST_PICTURES:] if folder.is_dir() else []
        for path in found:
            try:
                data = _json(path)
            except (RunError, FileNotFoundError) as error:
                self.notes.append(str(error))
                continue
            image = self._image(path.with_suffix(".png"))
            if image is not None:
                self.pictures.append({"run": number, **data, "file": path.with_suffix(".png").name, "image": image})

    def _image(self, path: Path) -> str | None:
        """Return a PNG as a data URL; None if it is none, or the page would be too large."""
        content = b""
        with suppress(OSError):
            content = path.read_bytes() if path.is_file() and path.stat().st_size < _MOST_OF_FILE else b""
        if not content.startswith(_PNG):
            return None
        text = base64.b64encode(content).decode()
        if len(text) > self._images_left:
            self._left_out += 1
            return None
        self._images_left -= len(text)
        return f"data:image/png;base64,{text}"


class _Sample(NamedTuple):
    score: float
    prediction: Any
    target: Any


def disagreements(entries: Sequence[Entry], groups: Sequence[Group]) -> list[Data]:
    """Return the samples that the first runs of the first two groups score most differently, where both have scores."""
    if len(groups) < 2:
        return []
    numbers = (groups[0].members[0], groups[1].members[0])
    pair = tuple(entries[number] for number in numbers)
    found = []
    for mode, stem in _stems(pair[0].run.folder.path / REPORT):
        if differs_in_data([pair[0]], [pair[1]], mode):
            continue
        one, other = (_samples(entry.run.folder.path / REPORT, stem) for entry in pair)
        shared = {*one} & {*other}
        if shared and all(_is_same(one[index].target, other[index].target) for index in shared):
            samples = _most_different(one, other)
            found.append({"mode": stem, "runs": list(numbers), "samples": samples, "shared": len(shared)})
    return found


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # NaN is no other target than NaN


def _stems(folder: Path) -> list[tuple[str, str]]:
    """Return the modes of a folder's evaluations, each with the beginning of its files' names, one per dataloader."""
    names = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
    matches = sorted(
        (
            (MODES.index(found["mode"]), int(found["loader"] or 0), found)
            for found in map(_STEM.fullmatch, names)
            if found
        ),
        key=lambda each: each[:2],
    )
    return [(found["mode"], found[0]) for *_, found in matches]


def _most_different(one: dict[int, _Sample], other: dict[int, _Sample]) -> list[Data]:
    shared = sorted({*one} & {*other}, key=lambda index: (-abs(one[index].score - other[index].score), index))
    return [
        {
            "index": index,
            "target": one[index].target,
            "scores": [one[index].score, other[index].score],
            "predictions": [one[index].prediction, other[index].prediction],
        }
        for index in shared[:_MOST_DISAGREEMENTS]
    ]


def _samples(folder: Path, stem: str) -> dict[int, _Sample]:
    """Return the samples of an evaluation by their indices; none if there is no file, or another one."""
    columns = read_arrays(folder / f"{stem}-samples.npz") or {}
    try:
        index, score = columns["index"].ravel().astype(int), columns["score"].ravel().astype(float)
    except (ValueError, KeyError, TypeError, OverflowError):
        return {}
    others = [columns.get(name) for name in ("prediction", "target")]
    plain = [
        each.tolist() if each is not None and each.shape == index.shape else [None] * len(index) for each in others
    ]
    rows = zip(index.tolist(), score.tolist(), *plain, strict=False)
    return {number: _Sample(value, *rest) for number, value, *rest in rows if math.isfinite(value)}


def jsonable(value: Any, digits: int | None = None, depth: int = 0) -> Any:
    """Return data as JSON has it, with so many digits; NaN and Inf, and what is nested too deeply, as null."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        rounded = value if digits is None else float(f"{value:.{digits}g}")
        return rounded if math.isfinite(value) else None
    if depth > _DEPTH:
        return None
    if isinstance(value, dict):
        return {str(key): jsonable(inner, digits, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(inner, digits, depth + 1) for inner in value]
    return str(value)


def _json(path: Path) -> Data:
    try:
        if path.stat().st_size > _MOST_OF_FILE:
            raise RunError(f"{path} is left out: it has {path.stat().st_size / 2**20:.0f} MB")
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} is no file of an evaluation")
    return dict(jsonable(data, _DIGITS))


def _round_robin(groups: Sequence[Group]) -> Iterator[int]:
    for numbers in zip_longest(*(group.members for group in groups)):
        yield from (number for number in numbers if number is not None)


def _dicts(value: object) -> list[Data]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _age(path: Path) -> tuple[int, str]:
    digits = "".join(each for each in path.stem.rpartition("step")[2] if each.isdecimal())
    return int(digits or 0), path.name
