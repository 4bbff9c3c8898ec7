"""Remove runs: only folders of runs, and never one that may still run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.lock import LOCK, owned, release
from lighter.processes.identity import is_here
from lighter.runs.read import PENDING, REQUEUED, RUNNING, read_run, refuse_running


def removable(folders: Sequence[paths.RunFolder]) -> list[paths.RunFolder]:
    """Return the same folders, each once, if all of them can be removed.

    Raises:
        RunError: one of them runs, or is no run's folder; nothing is to be removed then.
    """
    unique = list({folder.path.resolve(): folder for folder in folders}.values())
    _refuse([reason for folder in unique if (reason := _reason_against(folder, owns=False))])
    return unique


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise RunError("\n".join(["nothing is removed:", *(f"  {reason}" for reason in wrong)]))


def _reason_against(folder: paths.RunFolder, *, owns: bool) -> str | None:
    # without the link, the run would be where it was; and a folder with another name was hardly meant
    is_named = paths.is_run(folder.path.resolve().name) or paths.is_member(folder.path)
    if folder.path.is_symlink() or not is_named:
        return f"{folder.path} is not called as runs are, DATE/TIME-NAME; remove it yourself if you mean to"
    run = read_run(folder.path)
    if run.status not in (RUNNING, PENDING, REQUEUED):
        return None
    # its lock, which this process may have already, tells of one on another host
    try:
        with nullcontext() if owns or is_here(run.facts.get("host")) else owned(folder.path, folder.id):
            refuse_running(run)
    except RunError as error:
        return str(error)
    return None


def consequences(folders: Sequence[paths.RunFolder]) -> list[str]:
    """Return a line for each experiment that loses members: what comes of that."""
    homes = Counter(folder.path.absolute().parent for folder in folders if paths.is_member(folder.path))
    return [
        f"{count} member{'s' * (count > 1)} of the experiment {paths.RunFolder(home).id}, whose results are then "
        "without them; `lighter experiment resume` would train them anew"
        for home, count in homes.items()
    ]


def remove(folders: Sequence[paths.RunFolder]) -> None:
    """Remove runs, and the folders of the days that have no other.

    Raises:
        RunError: one of them runs by now, and nothing is removed; or some of it cannot be removed.
    """
    # all are locked before any is removed, and asked once more: one may have been resumed meanwhile
    with ExitStack() as stack:
        for home in {folder.path.absolute().parent for folder in folders if paths.is_member(folder.path)}:
            # which may start a member at any moment
            stack.enter_context(owned(home, f"the experiment {paths.RunFolder(home).id}"))
        for folder in folders:
            stack.enter_context(owned(folder.path, folder.id))
        _refuse([reason for folder in folders if (reason := _reason_against(folder, owns=True))])
        for folder in folders:
            try:
                for path in list(folder.path.iterdir()):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    elif path.name != LOCK:
                        path.unlink()
                release(folder.path / LOCK, remove=True)  # at the end: nobody takes a run that is half gone
                folder.path.rmdir()
            except OSError as error:
                raise RunError(f"{folder.path} cannot be removed: {error}") from error
            with suppress(OSError):
                folder.path.parent.rmdir()


def size_of(folder: Path) -> str:
    """Return the size of all files in a folder, in words."""
    size = float(sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
