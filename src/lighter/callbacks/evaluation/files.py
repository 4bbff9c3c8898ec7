"""The files of a recorded evaluation: `test.json`, `test-samples.npz`, `test-best.png`, `test-worst.png`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lighter.callbacks.evaluation.extremes import BEST, WORST, KeptSample, chosen
from lighter.callbacks.evaluation.settings import SEGMENTATION, ReportSettings
from lighter.callbacks.evaluation.sheet import LEGEND, NEEDS_PILLOW, Tile, can_draw, overlaid, png, sheet
from lighter.callbacks.evaluation.shown import IMAGE, PREDICTION_MAP, TABLE, TARGET_MAP
from lighter.callbacks.evaluation.tally import Tally, number, numbers
from lighter.callbacks.evaluation.values import as_npz, counted, joined
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RunFolder
from lighter.files.storage import on_disk

log = logging.getLogger("lighter.runs")

FORMAT = 1


class Part(NamedTuple):
    """Results of a dataloader, of one process or of all; `size` is that of a sheet."""

    tally: Tally
    values: dict[str, np.ndarray]
    best: list[KeptSample]
    worst: list[KeptSample]
    size: int
    has_indices: bool


class Recorded(NamedTuple):
    """Results of a dataloader, of all processes, and their `position`: the epoch and the step."""

    mode: str
    loader: int
    position: Mapping[str, int]
    whole: Part

    @property
    def stem(self) -> str:
        """The beginning of its files' names."""
        return f"{self.mode}-dataloader{self.loader}" if self.loader else self.mode


def merged(parts: Sequence[Part]) -> Part:
    """Return what several processes recorded of a dataloader, as one would have."""
    first, *others = parts
    for part in others:
        first.tally.merge(part.tally)
    best, worst = (
        chosen([sample for part in parts for sample in getattr(part, name)], first.size, best=name == BEST)
        for name in (BEST, WORST)
    )
    values, has_indices = joined([part.values for part in parts]), all(part.has_indices for part in parts)
    return Part(first.tally, values, best, worst, first.size, has_indices)


class ReportFiles:
    """Write recorded evaluations. What is left out is a warning, once."""

    def __init__(self, settings: ReportSettings) -> None:
        self.settings = settings
        self._warned: set[str] = set()

    def write(self, root: str, recorded: Recorded) -> None:
        """Write an evaluation into a run's folder. Each file is whole; the one that names the others comes last.

        Raises:
            OSError: a file cannot be written.
        """
        on = on_disk(root)
        if on is None:
            self._warn(f"reports are kept on disks only, not in {root}")
            return
        folder, whole = RunFolder(on).report, recorded.whole
        folder.mkdir(parents=True, exist_ok=True)
        samples = counted(whole.values)
        scores = folder / f"{recorded.stem}-samples.npz"
        content: dict[str, Any] = {"format": FORMAT, "mode": recorded.mode, **recorded.position}
        if recorded.loader:
            content["dataloader"] = recorded.loader
        mistake = whole.tally.mistake()
        if mistake is not None:  # no number of it would be right
            self._warn(f"{mistake}: the results of {recorded.mode} are left out of the report")
            content |= {"task": self.settings.task, "metrics": {}, "mistake": mistake, "samples": 0}
            content["left_out"] = len(whole.values["index"])
        else:
            content |= self._content(recorded, samples)
            kinds = [(name, kept) for name, kept in ((BEST, whole.best), (WORST, whole.worst)) if kept]
            content["sheets"] = [self._sheet(folder, recorded, name, kept) for name, kept in kinds]
        if whole.has_indices and mistake is None:
            content["scores"] = scores.name
            write_whole(scores, as_npz(samples))
        else:
            scores.unlink(missing_ok=True)  # of an earlier evaluation
        write_whole(folder / f"{recorded.stem}.json", json.dumps(content, allow_nan=False))

    def _content(self, recorded: Recorded, samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
        all_samples, left = len(recorded.whole.values["index"]), len(samples["index"])
        content = {**recorded.whole.tally.result(samples), "samples": left}
        if left < all_samples:
            content["left_out"] = all_samples - left
            self._warn(
                f"{all_samples - left} of {all_samples} samples of {recorded.mode} are left out of the report: their"
                " predictions are not finite, or their targets are no classes"
            )
        return content

    def _sheet(self, folder: Path, recorded: Recorded, name: str, kept: Sequence[KeptSample]) -> dict[str, Any]:
        """Return the entry of a sheet, and write its picture if its samples have one."""
        classes = getattr(recorded.whole.tally, "names", None)
        entry: dict[str, Any] = {"name": name}
        if all(IMAGE in sample.shown for sample in kept):
            if can_draw():
                entry["file"] = f"{recorded.stem}-{name}.png"
                title = LEGEND if self.settings.task == SEGMENTATION else ""
                tiles = [_tile(sample, classes) for sample in kept]
                write_whole(folder / entry["file"], png(sheet(tiles, title)))
            else:
                self._warn(NEEDS_PILLOW)
        has_index = recorded.whole.has_indices
        return {**entry, "samples": [_entry(sample, classes, has_index=has_index) for sample in kept]}

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            log.warning("%s", message)


def _entry(sample: KeptSample, classes: Sequence[str] | None, *, has_index: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": sample.index if has_index else None, "score": number(sample.score)}
    for name in ("target", "prediction"):
        if name in sample.values:
            value = sample.values[name]
            entry[name] = classes[int(value)] if classes is not None else number(value)
    if TABLE in sample.shown:
        entry["input"] = numbers(sample.shown[TABLE])
    return entry


def _tile(sample: KeptSample, classes: Sequence[str] | None) -> Tile:
    shown, image = sample.shown, sample.shown[IMAGE]
    if TARGET_MAP in shown:
        image = overlaid(image, shown[TARGET_MAP], shown[PREDICTION_MAP])
    entry = _entry(sample, classes, has_index=True)
    values = [f"{name}: {entry[name]}" for name in ("target", "prediction") if name in entry]
    score = "NaN" if entry["score"] is None else f"{entry['score']:.3g}"
    return Tile([image], [f"#{sample.index}  {score}", *values])
