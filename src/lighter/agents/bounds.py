"""The words of an agent: they become words of a command, and name no file outside of the root folder.

This keeps an agent from reading and writing elsewhere by mistake. It is no boundary for code: a config can name any
function, unless the server runs with `--safe`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lighter.config.load import Override, is_override, parse_override
from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR, prefixes
from lighter.errors import RunError
from lighter.files.run_folder import RECORD

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|\bfile:/", re.IGNORECASE)
_LITERAL = re.compile(r"""'([^']*)'|"([^"]*)\"""")


def inputs(words: Sequence[str], root: Path) -> list[str]:
    """Return config files and overrides.

    Raises:
        RunError: one is an option, a URL, or names a file outside of the root.
    """
    for word in words:
        _refuse_option(word)
        # relative to the root, where commands run
        if not _is_file(word, root) and is_override(word):
            for name in _names(_parsed(word)):
                _refuse_outside(name, root)
        else:
            inside(word, root)
    return [*words]


def inside(word: str, root: Path) -> str:
    """Return a path, or another word for a run; raise `RunError` if it is a URL or a path outside of the root."""
    _refuse_option(word)
    # a word for runs may name several, with signs between them: NAME=A+B, A,B, 2026-*
    for part in {word, *re.split("[=,+]", word)}:
        _refuse_outside(part, root)
        # of what fits a pattern, only runs are read
        for match in glob.glob(f"{part}/{RECORD}", root_dir=root):
            _refuse_outside(match, root)
    return word


def _refuse_option(word: str) -> None:
    if word.startswith("-"):
        raise RunError(f"`{word}` is an option; a tool takes options by their names")


def _refuse_outside(name: str, root: Path) -> None:
    """Raise `RunError` for a URL, and for what leads out of the root once all links are followed."""
    if _URL.search(name):
        raise RunError(f"`{name}` is a URL; this server takes files in {root}")
    try:
        path = (root / Path(name).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # of no such user, of a loop of links, of a zero byte
        raise RunError(f"`{name}` is no path: {error}") from error
    if not path.is_relative_to(root):
        raise RunError(f"{name} is outside of {root}, which this server is bound to")


def _is_file(word: str, root: Path) -> bool:
    try:
        return (root / word).is_file()
    except (OSError, ValueError):
        return False


def _parsed(word: str) -> Override:
    problems: list[Problem] = []
    override = parse_override(word, problems)
    if override is None:
        raise RunError("\n".join(map(str, problems)))
    return override


def _names(override: Override) -> Iterator[str]:
    """Yield each text of an override that can name a file."""
    keys = [*override.steps]
    for _, node in override.value.walk():
        if isinstance(node.value, dict):
            keys += [str(key).lstrip("=~") for key in node.value]
        elif isinstance(node.value, str):
            yield from _names_in(node.value)
    # a key without a `/` is a config path: `data` is a section even where a link has that name
    yield from (step for key in keys for step in key.split(SEPARATOR) if "/" in step or _URL.search(step))


def _names_in(value: str) -> Iterator[str]:
    sign = value[:1]
    if sign == "$":  # code: what it names is in its literals; "/" alone joins and splits
        literals = (single or double for single, double in _LITERAL.findall(value))
        yield from (literal for literal in literals if literal.strip("/"))
    elif sign in ("@", "%"):  # `%file.yaml::a::b` is a copy from a file; without a file it is a config path
        yield from (name for name in prefixes(value[1:]) if "/" in name or name.lower().endswith((".yaml", ".yml")))
    else:
        yield value
