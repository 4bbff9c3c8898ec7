"""The checkpoints of a run: which file is its last, and which its best, whatever the files are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lighter.files import run_folder as paths
from lighter.files.folders import replaced
from lighter.files.manifest import Manifest, read_manifest

_UNCLOSED = "running"  # the status of a record that nobody has closed, as after a kill


class Best(NamedTuple):
    """The file with the best value of a monitor."""

    path: Path
    monitor: str | None
    score: float | None

    @classmethod
    def of(cls, path: Path, entry: Mapping[str, Any]) -> Best:
        """Take monitor and score of an entry in a record."""
        monitor = entry.get("monitor")  # of any type: a record may be anybody's
        return cls(path, monitor if isinstance(monitor, str) else None, _number(entry.get("score")))


@dataclass(frozen=True)
class Checkpoint:
    """A file, or the folder of a sharded checkpoint, and what it says of itself."""

    path: Path
    manifest: Manifest | None

    @property
    def step(self) -> int | None:
        return self.manifest.step if self.manifest is not None else None

    @property
    def has_weights_only(self) -> bool:
        """True if its manifest says that no training can resume from it."""
        return self.manifest is not None and self.manifest.complete is False


class Checkpoints:
    """The checkpoints of one run, of which `newest` has all, the one that was trained for longest first.

    With `inside`, only files in the folder are believed to be the run's: its record, `facts`, can name any file.
    """

    def __init__(self, folder: paths.RunFolder, facts: Mapping[str, Any], *, inside: bool = False) -> None:
        self.folder, self._inside = folder, inside
        self._facts = facts if isinstance(facts, Mapping) else {}
        in_folder = [path for path in folder.checkpoints.rglob("*.ckpt") if path.name[0] != "." and self._is_own(path)]
        files = dict.fromkeys([*in_folder, *(path for path, _ in self._recorded())])
        checkpoints = [Checkpoint(path, read_manifest(path)) for path in files]
        # by the steps in the files; where one of them says nothing, all are compared by their times
        by_step = all(isinstance(one.step, int) for one in checkpoints)
        self.newest = sorted(checkpoints, key=lambda one: _age(one, by_step=by_step), reverse=True)

    @property
    def last(self) -> Path | None:
        return self.newest[0].path if self.newest else None

    @property
    def best(self) -> Best | None:
        return next(iter(self.bests), None)

    @property
    def bests(self) -> list[Best]:
        """The best by each of the values that the run's callbacks monitor."""
        recorded = [Best.of(path, entry) for path, entry in self._recorded() if entry.get("best") is True]
        noted = list(self._best_noted())
        # after a kill, the record may be behind what the newest files note
        is_closed = self._facts.get("status") != _UNCLOSED
        bests = recorded or noted if is_closed else noted or recorded
        named = _there(self.folder.checkpoints / paths.BEST)
        return bests or ([Best(named, None, None)] if self._is_own(named) else [])

    @property
    def monitors(self) -> list[str]:
        """The values of the validation that a checkpoint could be chosen by, losses first."""
        metrics = self._facts.get("metrics")
        names = [name for name in metrics if name.startswith("val/")] if isinstance(metrics, dict) else []
        return sorted(names, key=lambda name: ("loss" not in name, name))

    @property
    def are_of_trial(self) -> bool:
        """True if the run was a `fast_dev_run`, from whose few steps nobody resumes."""
        trainer = self._facts.get("trainer")
        return isinstance(trainer, dict) and trainer.get("fast_dev_run") is True

    def score_of(self, path: Path) -> float | None:
        """Return the score of a file, by the callback that chose it."""
        noted = [best.score for best in self.bests if best.path == path and best.score is not None]
        recorded = [_number(entry.get("score")) for own, entry in self._recorded() if own == path]
        return next(iter([*noted, *recorded]), None)

    def _recorded(self) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        entries = self._facts.get("checkpoints")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                path = _there(self.folder.path / entry["path"])
                elsewhere = os.path.isabs(entry["path"]) and not self._inside
                if self._is_own(path) or (elsewhere and path.exists()):
                    yield path, entry

    def _best_noted(self) -> Iterator[Best]:
        for checkpoint in self.newest:
            notes = checkpoint.manifest.best if checkpoint.manifest is not None else ()
            entries = [note for note in notes if isinstance(note, Mapping)] if isinstance(notes, (list, tuple)) else []
            for entry in entries:
                path = _there(Path(os.path.normpath(checkpoint.path.parent / str(entry.get("path")))))
                if self._is_own(path):
                    yield Best.of(path, entry)
            if entries:  # those of an older file would be older bests
                return

    def _is_own(self, path: Path) -> bool:
        # links are resolved only if nothing but the folder is believed: a trusted run's may be linked to a larger disk
        try:
            spelled = Path(os.path.normpath(path.absolute()))
            inside = self.folder.path.absolute() in spelled.parents
            if self._inside:
                inside = inside and self.folder.path.resolve() in path.resolve().parents
            return inside and path.exists()
        except (OSError, ValueError, RuntimeError):  # an impossible name, links in a circle
            return False


def moments(folder: paths.RunFolder, facts: Mapping[str, Any]) -> set[int]:
    """Return when each of a run's checkpoints was written, in ns by the clock of the disk: other ones are newer."""
    found = Checkpoints(folder, facts).newest
    return {one.path.stat().st_mtime_ns for one in found if one.path.exists()}


def _there(path: Path) -> Path:
    """Return the path under which a checkpoint is found: another one after a kill while its folder was replaced."""
    try:
        return replaced(path) if not os.path.lexists(path) and replaced(path).is_dir() else path
    except (OSError, ValueError):  # an impossible name in a record
        return path


def _age(one: Checkpoint, *, by_step: bool) -> tuple[int, str, int, bool]:
    # `last.ckpt` may be a copy of another one, saved at the same step and moment
    modified = one.path.stat().st_mtime_ns if one.path.exists() else 0
    saved = str(one.manifest.saved) if one.manifest is not None and by_step else ""
    return (one.step or 0) if by_step else 0, saved, modified, one.path.name == paths.LAST


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
