"""All runs under a root, fast: a summary of each, kept in a file that can always be made again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter import __version__
from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.atomic import read_text, write_whole
from lighter.runs.read import read_run, state_of

log = logging.getLogger("lighter.runs")

INDEX = ".runs.json"
_SETTLED = 2.0  # seconds
_FORMAT = f"3 {__version__}"


def summaries(root: Path, tell: Callable[[str], object] = log.warning) -> list[dict[str, Any]]:
    """Summarize every run under a root, the newest first; see `Run.summary`. Their status is as of now.

    Members of an experiment are listed where its folder is the root, and nowhere else.

    `tell` is called with a line for each run whose record cannot be used; that run is left out.
    """
    known = _read(root)
    now, changed, rows = time.time(), False, {}
    for name, modified in _folders(root):
        entry = known.get(name)
        # a folder's time changes whenever a file in it is exchanged, as its record and its tags are
        if entry is None or entry["modified"] != modified:
            row = _summary(root / name, tell)
            # a folder that changed just now is read again next time: two changes may have one time
            settled = now - modified / 1e9 > _SETTLED
            changed = changed or (settled and row is not None)
            entry = {"modified": modified if settled else None, "row": row}
        rows[name] = entry
    if changed or len(rows) < len(known):
        with suppress(OSError):  # a cache: without it the next one reads again
            kept = {name: entry for name, entry in rows.items() if entry["row"] is not None}
            text = json.dumps(kept)
            write_whole(root / INDEX, f"{_head(text)}\n{text}")
    summaries = [{**entry["row"], "path": str(root / name)} for name, entry in rows.items() if entry["row"] is not None]
    for row in summaries:
        row["status"], row["reason"] = state_of(row, row["path"])
    return sorted(summaries, key=_age, reverse=True)


def _age(row: dict[str, Any]) -> tuple[object, ...]:
    # by their folders' names, and those of one second by their records
    *second, number = paths.age(Path(row["id"]))
    return *second, str(row.get("started")), number


def _folders(root: Path) -> Iterator[tuple[str, int]]:
    for day in _entries(root):
        if day.is_dir() and paths.is_member(Path(day.path)):
            yield day.name, day.stat().st_mtime_ns
        for run in _entries(day.path) if paths.is_day(day.name) and day.is_dir() else ():
            if paths.is_run(run.name) and run.is_dir():
                yield f"{day.name}/{run.name}", run.stat().st_mtime_ns


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


def _summary(folder: Path, tell: Callable[[str], object]) -> dict[str, Any] | None:
    try:
        return read_run(folder).summary()
    except RunError as error:
        if os.path.lexists(folder / paths.RECORD):  # without one, it is no run, or one that begins at this moment
            tell(f"left out: {error}")
        return None


def _read(root: Path) -> dict[str, Any]:
    try:
        head, _, text = read_text(root / INDEX).partition("\n")
        return dict(json.loads(text)) if head == _head(text) else {}
    except (OSError, ValueError):
        return {}


def _head(text: str) -> str:
    # an index that another version wrote, or that another program changed, is made anew and not believed
    return f"{_FORMAT} {hashlib.sha256(text.encode()).hexdigest()}"
