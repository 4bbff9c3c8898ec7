"""The words of an agent: they become words of a command, and name no file outside of the root folder.

This keeps an agent from reading and writing elsewhere by mistake. It is no boundary for code: a config can name any
function, unless the server runs with `--safe`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lighter.config.load import is_override, is_url, parse_override
from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR
from lighter.errors import RunError


def inputs(words: Sequence[str], root: Path) -> list[str]:
    """Return config files and overrides.

    Raises:
        RunError: one is an option, a URL, or names a file outside of the root.
    """
    for word in words:
        if is_url(word):
            raise RunError(f"`{word}` is a URL; configs are files in {root}")
        # relative to the root, where commands run
        if not _is_file(word, root) and is_override(word):
            _refuse_values(word, root)
        else:
            inside(word, root)
    return [*words]


def inside(word: str, root: Path) -> str:
    """Return a path, or another word for a run; raise `RunError` if it is a path outside of the root."""
    if word.startswith("-"):
        raise RunError(f"`{word}` is an option; a tool takes options by their names")
    # a word for runs may name several, with signs between them: NAME=A+B, A,B
    for part in {word, *re.split("[=,+]", word)}:
        try:
            path = (root / Path(part).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # of no such user, of a loop of links, of a zero byte
            raise RunError(f"`{word}` is no path: {error}") from error
        if path != root and root not in path.parents:
            raise RunError(f"{word} is outside of {root}, which this server is bound to")
    return word


def _is_file(word: str, root: Path) -> bool:
    try:
        return (root / word).is_file()
    except (OSError, ValueError):
        return False


def _refuse_values(word: str, root: Path) -> None:
    problems: list[Problem] = []
    override = parse_override(word, problems)
    if override is None:
        raise RunError("\n".join(map(str, problems)))
    for _, node in override.value.walk():
        value = node.value
        if not isinstance(value, str):
            continue
        # `%file.yaml::a::b` is a copy from a file
        path = value[1:].partition(SEPARATOR)[0] if value.startswith("%") else value
        if path.startswith(("/", "~")) or ".." in Path(path).parts:
            inside(path, root)
