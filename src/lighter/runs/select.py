"""Find the run that is meant: by a path, an id, the beginning of one, a name, or `last`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.storage import expanded
from lighter.runs.read import Run, read_run

LAST = "last"
_MOST_SHOWN = 8


def find_run(
    wanted: str | Path, root: Path, *, accepts: Callable[[paths.RunFolder], bool] = lambda _: True, kind: str = "run"
) -> paths.RunFolder:
    """Find the folder of a run.

    Args:
        wanted: a path of a run's folder or of a file in it, an id (`2026-11-22/14-03-55-digits`), the beginning of an
            id or of what follows the date, a name (`run::name`) that one run has, or `last` for the newest run. A
            member of an experiment is found by a path and an id alone: `14-03-55-digits/trial-0007-seed-1`.
        accepts: the runs among which `last`, or one of several with a name, is chosen.
        kind: what messages call those.

    Raises:
        RunError: there is none, or several.
    """
    text = str(wanted)
    by_path = _by_path(expanded(text)) if text not in ("", LAST) else None
    if by_path is not None:
        return by_path
    folders = list(paths.all_runs(root))
    if not folders and not _members(text, root):
        called = f", so none is called `{text}`" if text != LAST else ""
        raise RunError(f"there is no run under {root}{called}. Runs elsewhere are found with --dir FOLDER")
    if text == LAST:
        newest = next((folder for folder in folders if accepts(folder)), None)
        if newest is None:
            raise RunError(f"there is no {kind} among the {len(folders)} runs under {root}")
        return newest
    matches = [folder for folder in folders if text in _names(folder)]
    # an id before a name, and a name before a beginning: what is written in full is meant in full
    matches = matches or [folder for folder in folders if text and paths.is_called(folder.path, text)]
    matches = matches or [folder for folder in folders if any(name.startswith(text) for name in _names(folder))]
    if len(matches) > 1:  # a test has the name of its fit
        matches = [folder for folder in matches if accepts(folder)] or matches
    matches = matches or _members(text, root)
    if len(matches) == 1:
        return matches[0]
    raise RunError(_several(text, matches) if matches else _none(text, folders, root))


def newest_first(folders: Iterable[paths.RunFolder]) -> list[Run]:
    """Read runs, and sort them by when their records say that they were started, the newest first."""
    # a folder's name says it only where nobody renamed it and no clock was wrong, and a resumed run starts once more
    runs = []
    for folder in folders:
        with suppress(RunError):  # a record that cannot be read
            runs.append(read_run(folder.path))
    return sorted(runs, key=_age, reverse=True)


def _age(run: Run) -> tuple[float, tuple[str, str, int]]:
    try:
        started = datetime.fromisoformat(str(run.facts.get("started"))).timestamp()
    except (ValueError, OverflowError, OSError):
        started = 0.0
    return started, paths.age(run.folder.path)


def _by_path(path: Path) -> paths.RunFolder | None:
    for folder in (path, path.parent) if path.exists() else ():
        is_run = paths.is_run(folder.name) and (folder / paths.CONFIG).is_file()
        if is_run or (folder / paths.RECORD).is_file():
            return paths.RunFolder(folder if folder.name else folder.resolve())
    return None


def _members(text: str, root: Path) -> list[paths.RunFolder]:
    """Return the members of experiments that an id, or the beginning of one, means; of the one given as the root, too.

    Only the experiments whose ids the text begins with are looked into.
    """
    homes = {"": root}
    for each in paths.all_runs(root / paths.EXPERIMENTS):
        homes |= {f"{name}/": each.path for name in _names(each)}
    begun = [(home, text.removeprefix(name)) for name, home in homes.items() if text.startswith(name)]
    members = [member for home, rest in begun for member in paths.members_in(home) if member.path.name.startswith(rest)]
    # `trial-0001-seed-1` is the beginning of `trial-0001-seed-10`
    return [member for member in members if text.endswith(member.path.name)] or members


def _names(folder: paths.RunFolder) -> tuple[str, str]:
    return folder.id, folder.path.name


def _several(text: str, matches: list[paths.RunFolder]) -> str:
    shown = [f"  {folder.id}" for folder in matches[:_MOST_SHOWN]]
    more = [f"  ... and {len(matches) - _MOST_SHOWN} more"] if len(matches) > _MOST_SHOWN else []
    is_name = paths.is_called(matches[0].path, text)
    which = ("the name", "take an id") if is_name else ("the beginning", "write more of it")
    return "\n".join([f"`{text}` is {which[0]} of {len(matches)} runs; {which[1]}:", *shown, *more])


def _none(text: str, folders: list[paths.RunFolder], root: Path) -> str:
    if os.sep in text and expanded(text).is_dir():
        return f"{text} is no run's folder: it has no {paths.RECORD}"
    from lighter.config.problems import closest

    # of the newest alone: there may be thousands of runs
    near = closest(text, [name for folder in folders[:500] for name in _names(folder)])
    hint = near or f"The newest is {folders[0].id}; `lighter runs list` shows more."
    return f"no run under {root} is called `{text}`. {hint}"
