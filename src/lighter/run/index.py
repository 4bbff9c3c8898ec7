"""All runs under a root, fast: a summary of each, kept in a file that can always be made again.

A run's folder changes its time whenever a file in it is exchanged, as its record and its tags are; so a summary holds
as long as that time is the same. A folder that changed just now is read anew: two changes may have one time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter import __version__
from lighter.errors import RunError
from lighter.run import paths
from lighter.run.disk import write_whole
from lighter.run.read import read_run, status_of

INDEX = ".runs.json"
_SETTLED = 2.0  # seconds
_FORMAT = f"1 {__version__}"


def summaries(root: Path) -> list[dict[str, Any]]:
    """A summary of every run under a root, the newest first; see `Run.summary`. Their status is as of now."""
    known = _read(root)
    now, changed, rows = time.time(), False, {}
    for name, modified in _folders(root):
        entry = known.get(name)
        if entry is None or entry["modified"] != modified:
            row = _summary(root / name)
            settled = now - modified / 1e9 > _SETTLED
            changed = changed or (settled and row is not None)
            entry = {"modified": modified if settled else None, "row": row}
        rows[name] = entry
    if changed or len(rows) < len(known):
        with suppress(OSError):  # a cache: without it the next one reads again
            kept = {name: entry for name, entry in rows.items() if entry["row"] is not None}
            write_whole(root / INDEX, json.dumps({"format": _FORMAT, "runs": kept}))
    found = [{**entry["row"], "path": str(root / name)} for name, entry in rows.items() if entry["row"] is not None]
    for row in found:
        row["status"] = status_of(row)
    return sorted(found, key=lambda row: paths.age(Path(row["id"])), reverse=True)


def _folders(root: Path) -> Iterator[tuple[str, int]]:
    """Each run's folder, relative to the root, and when it changed."""
    with suppress(OSError), os.scandir(root) as days:
        for day in days:
            if paths.is_day(day.name) and day.is_dir():
                with os.scandir(day.path) as runs:
                    for run in runs:
                        if paths.is_run(run.name):
                            yield f"{day.name}/{run.name}", run.stat().st_mtime_ns


def _summary(folder: Path) -> dict[str, Any] | None:
    try:
        return read_run(folder).summary()
    except RunError:
        return None


def _read(root: Path) -> dict[str, Any]:
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
        return dict(index["runs"]) if index["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
