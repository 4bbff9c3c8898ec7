"""Restrict files to declared folders, after symbolic links are resolved, and refuse URLs.

Nobody can know which strings are paths. Those are checked that an argument's name, or the list, says are paths.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PATH, PART, REFUSED = "path", "part", "refused"
RULES = (PATH, PART, REFUSED)

_PATHS = re.compile(
    r"(?:.*_)?(?:path|paths|dir|dirs|directory|directories|dirpath|root|roots|folder|folders|file|files|filepath"
    r"|filepaths|checkpoint|checkpoints|ckpt)\Z",
    re.IGNORECASE,
)
_PARTS = re.compile(r"(?:.*_)?(?:filename|filenames|subdir|sub_dir|basename)\Z", re.IGNORECASE)
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:")
_FIELD = re.compile(r"\{[\w/.-]*(?::0?[0-9]{0,2}(?:\.[0-9]{1,2})?[dfeg]?)?\}")


def rule_of(argument: str) -> str | None:
    """Return what the name of an argument says about its value: a path, part of a file's name, or neither."""
    if _PARTS.match(argument):
        return PART
    return PATH if _PATHS.match(argument) else None


def is_url(value: object) -> bool:
    """Return whether a text is a URL, of any scheme."""
    return isinstance(value, str) and _URL.match(value) is not None


def outside(value: object, roots: Iterable[Path]) -> str | None:
    """Return why a path, or one of those in a list or dict, may not be used; None where all may."""
    for text in _texts(value):
        # A URL, or one of fsspec's chains: `data:`, `simplecache::https://`.
        if _SCHEME.match(text):
            return f"`{text}` is no local file"
        if not _is_inside(text, roots):
            return f"`{text}` is outside of the folders that this run may use"
    return None


def leads_out(value: object) -> str | None:
    """Return why a text may not become part of a file's name; None where it may."""
    for text in _texts(value):
        steps = re.split(r"[/\\]", text)
        if (
            os.path.isabs(text)
            or ".." in steps
            or text.startswith("~")
            or set("$\0") & set(text)
            or _SCHEME.match(text)
        ):
            return f"`{text}` leads out of its folder"
        if set(_FIELD.sub("", text)) & set("{}[]"):
            return f"`{text}` has a field that is more than a name with a number's format"
    return None


def _is_inside(text: str, roots: Iterable[Path]) -> bool:
    if "\0" in text:
        return False
    # As it is and with `~` and variables expanded, as its user may do either.
    spellings = {text, os.path.expanduser(text), os.path.expandvars(text)}
    return all(_is_below(spelling, roots) and _is_pattern_below(spelling, roots) for spelling in spellings)


def _is_pattern_below(pattern: str, roots: Iterable[Path]) -> bool:
    # Step by step: whether `[l]ink/x` has a match would reveal an x outside.
    starts = [*reversed(Path(pattern).parents), Path(pattern)] if glob.has_magic(pattern) else []
    return all(
        _is_below(match, roots)
        for start in starts
        if glob.has_magic(str(start))
        for match in glob.iglob(str(start), recursive=True)
    )


def _is_below(path: str, roots: Iterable[Path]) -> bool:
    # `there/../here` would reveal whether there is a folder `there`.
    steps = Path(path).parts
    passed = [os.path.join(*steps[:index]) for index, step in enumerate(steps) if step == ".." and index]
    return _is_in(path, roots) and all(_is_in(folder, roots) or _is_above(folder, roots) for folder in passed)


def _is_in(path: str, roots: Iterable[Path]) -> bool:
    real = Path(os.path.realpath(path))
    return any(real == root or root in real.parents for root in roots)


def _is_above(path: str, roots: Iterable[Path]) -> bool:
    # Of one of these or of the working directory: which parents they have is no secret.
    real = Path(os.path.realpath(path))
    return any(real in known.parents or real == known for known in (*roots, Path.cwd()))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, (str, bytes, os.PathLike)):
        yield os.fsdecode(value)
    elif isinstance(value, Mapping):  # of a source of weights, {path: ..., rename: {...}}, only that
        for inner in [value["path"]] if "path" in value else value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _texts(inner)
