"""Restore the code of a run from its record, in a folder of its own: the user's checkout is left as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.runs.read import Run
from lighter.runs.secrets import REDACTED
from lighter.runs.source import git

_NOT_LINKED = {".venv", "venv", "__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox"}
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+")


@contextmanager
def restored(run: Run, runs: Path) -> Iterator[Path]:
    """Make a temporary checkout of the recorded commit, with its changes and files.

    Raises:
        RunError: the commit is in no checkout here, or the changes cannot be applied to it.
    """
    source = run.facts["source"]
    origin = _repository(source)
    with tempfile.TemporaryDirectory(prefix="lighter-") as folder:
        checkout = Path(folder) / "checkout"
        try:
            if source.get("commit") is not None:
                git(origin, "clone", "--quiet", "--shared", "--no-checkout", str(origin), str(checkout))
                git(checkout, "checkout", "--quiet", "--detach", source.get("commit"))
                if source.get("changed"):
                    patch = (run.folder.path / paths.PATCH).read_bytes().decode(errors="surrogateescape")
                    patch = _with_committed_lines(patch, checkout) if source.get("redacted") else patch
                    git(checkout, "apply", "--whitespace=nowarn", "-", text=patch)
            else:  # nothing was committed yet: all of the code is among the untracked files
                git(origin, "init", "--quiet", str(checkout))
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", b"") or str(error).encode()).decode(errors="replace").strip()
            raise RunError(f"the code of {run.id} cannot be restored: {reason}") from error
        for name in source.get("untracked") or []:
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.folder.path / paths.SOURCE / name, checkout / name)
        # files that git ignores, data above all, are on no record
        _link_the_rest(origin, checkout, runs.resolve())
        yield checkout


def _repository(source: Mapping[str, Any]) -> Path:
    commit = source.get("commit") or "HEAD"
    # where it was, or another clone in which the command is given
    for folder in (Path(source["root"]), Path.cwd()):
        try:
            if folder.is_dir():
                root = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
                if source.get("commit") is not None:
                    git(root, "cat-file", "-e", f"{commit}^{{commit}}")
                return root
        except (OSError, subprocess.SubprocessError):
            continue
    raise RunError(f"the commit {commit} is neither in {source['root']} nor in the checkout of {Path.cwd()}")


def _with_committed_lines(patch: str, checkout: Path) -> str:
    # git refuses a patch whose context or removed lines differ from the commit, so those are taken from there
    lines, old, number = patch.split("\n"), [""], 0
    for index, line in enumerate(lines):
        hunk = _HUNK.match(line)
        if line.startswith("--- a/"):
            file = checkout / line.removeprefix("--- a/").rstrip("\t")
            old = ["", *file.read_bytes().decode(errors="surrogateescape").split("\n")] if file.is_file() else [""]
        elif hunk:
            number = int(hunk[1])
        elif line[:1] in (" ", "-") and not line.startswith("--- ") and 0 < number < len(old):
            if REDACTED in line:
                lines[index] = line[0] + old[number]
            number += 1
    return "\n".join(lines)


def _link_the_rest(origin: Path, checkout: Path, runs: Path) -> None:
    words = ("ls-files", "--others", "--directory", "--no-empty-directory", "-z")
    for name in git(origin, *words).split("\0"):
        path, link = origin / name.rstrip("/"), checkout / name.rstrip("/")
        # code that is not restored was not there when the run began
        is_code = path.suffix == ".py" or path.name in _NOT_LINKED or path.name.endswith(".egg-info")
        if not name or is_code or os.path.lexists(link) or path.resolve() in (runs, *runs.parents):
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
