"""The parts of a word of the command line: the name that it gives, trials, runs joined by commas, patterns."""

from __future__ import annotations

import glob
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.storage import expanded

_NAMED = re.compile(r"(?P<name>[^/=]*)=(?P<word>.*)", re.DOTALL)
_TRIAL = re.compile(r"(?P<experiment>.*)/trial-(?P<number>[^/]*)/?", re.DOTALL)
_PATTERN = re.compile(r"[*?\[]")


def is_path(word: str) -> bool:
    return os.path.exists(os.path.expanduser(word))  # unlike `Path`, of a word of any length


def unnamed(word: str) -> tuple[str, str]:
    """Return the name that a word gives its side, or nothing, and the word itself.

    Raises:
        RunError: there is the sign for a name, and nothing on one side of it.
    """
    match = _NAMED.fullmatch(word)
    if match is None or is_path(word):  # a path may have the sign in it too
        return "", word
    name, rest = match["name"], match["word"]
    if not name or not rest:
        raise RunError(f"`{word}` has nothing {'after' if name else 'before'} its `=`: a side is named by NAME=SIDE")
    return name, rest


def trial_in(word: str) -> tuple[str, int] | None:
    """Return the experiment and the number of a trial; None of a word for something else.

    Raises:
        RunError: it is meant as a trial, and has no number.
    """
    match = _TRIAL.fullmatch(word)
    if match is None or is_path(word):
        return None
    if not match["number"].isdecimal():
        # the folder of a member begins alike: `EXP/trial-0003-seed-1`
        if match["number"][:1].isdecimal():
            return None
        raise RunError(f"`{word}` has no number: a trial is meant by EXP/trial-3")
    return match["experiment"], int(match["number"])


def joined(word: str) -> list[str]:
    """Return the words that commas join; of any other, the word alone."""
    if "," not in word or is_path(word):
        return [word]
    return [part for part in word.split(",") if part]


def is_pattern(word: str) -> bool:
    return _PATTERN.search(word) is not None and not is_path(word)


def matching(pattern: str, root: Path) -> list[paths.RunFolder]:
    """Return the runs that a pattern of paths fits, or else of ids or names of folders.

    Raises:
        RunError: there is none.
    """
    by_path = [Path(each) for each in sorted(glob.glob(str(expanded(pattern))))]
    found = [paths.RunFolder(path) for path in by_path if (path / paths.RECORD).is_file()]
    found = found or [
        folder
        for folder in paths.all_runs(root)
        if fnmatchcase(folder.id, pattern) or fnmatchcase(folder.path.name, pattern)
    ]
    if not found:
        raise RunError(f"no run under {root} fits the pattern `{pattern}`")
    return found
