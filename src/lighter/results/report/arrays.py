"""Read the matrices and vectors that metrics returned: `RUN/arrays/MODE-epochE-stepS.npz`, the last of each mode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lighter.results.arrays import read_arrays
from lighter.results.report.groups import Group
from lighter.results.report.recorded import jsonable
from lighter.results.report.subject import Entry

_FILE = re.compile(r"(?P<mode>\w+?)-epoch(?P<epoch>\d+)-step(?P<step>\d+)(?:-v\d+)?\.npz")
_MOST_GROUPS = 6
_MOST_OF_SIDE = 40
_MOST_OF_FILE = 5 * 2**20
_DIGITS = 6


def arrays(entries: Sequence[Entry], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the small arrays of the last evaluation of each mode, of the first run of each group."""
    return [
        {"run": group.members[0], **found}
        for group in groups[:_MOST_GROUPS]
        for path in _last_files(entries[group.members[0]].run.folder.arrays)
        for found in _arrays(path)
    ]


def _last_files(folder: Path) -> list[Path]:
    last: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob("*.npz")):
        match = _FILE.fullmatch(path.name)
        if match is not None and path.is_file() and path.stat().st_size < _MOST_OF_FILE:
            step = int(match["step"])
            if match["mode"] not in last or step >= last[match["mode"]][0]:
                last[match["mode"]] = step, path
    return [path for _, path in last.values()]


def _arrays(path: Path) -> Iterator[dict[str, Any]]:
    match = _FILE.fullmatch(path.name)
    for name, array in (read_arrays(path) or {}).items():
        if match and array.ndim in (1, 2) and 1 < max(array.shape) <= _MOST_OF_SIDE and array.dtype.kind in "biuf":
            place = {"mode": match["mode"], "epoch": int(match["epoch"]), "step": int(match["step"])}
            yield {"name": name, **place, "values": jsonable(array.tolist(), _DIGITS)}
