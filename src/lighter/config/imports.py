"""The names that expressions may use: `_imports_: {np: numpy, Path: pathlib.Path}`, and `$import a.b as c` anywhere."""

from __future__ import annotations

import ast
import pydoc
from typing import Any

from lighter.config.faults import as_exception
from lighter.config.locate import locate, why_not_found
from lighter.config.problems import Problem
from lighter.config.tree import Node, join
from lighter.errors import ConfigError, add_note

STATEMENTS = ("import ", "from ")
"""With these an expression begins that imports."""


def written_imports(root: Node) -> dict[str, Node]:
    """Return the dotted names of `_imports_` by the names that they give to expressions, as they are written."""
    return {str(name): child for name, child in root.section("_imports_").items()}


def imports_of(root: Node) -> dict[str, str]:
    return {name: child.value for name, child in written_imports(root).items() if isinstance(child.value, str)}


def names_of_statement(text: str) -> list[str]:
    """Return the names that `import a.b as c` or `from a import c` gives to all expressions; none for other texts."""
    if not text.startswith(STATEMENTS):
        return []
    return [
        alias.asname or alias.name.partition(".")[0]
        for statement in ast.parse(text).body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for alias in statement.names
    ]


def import_names(root: Node) -> dict[str, Any]:
    """Import what expressions may use, by name, or raise a `ConfigError` with all names that lead nowhere.

    What a module raises while it is imported gains a note that says where that is written.
    """
    names: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, node in written_imports(root).items():
        path = join("_imports_", name)
        try:
            names[name] = locate(node.value)
        except pydoc.ErrorDuringImport as error:
            failure = as_exception(error.value or error, str(node.value))
            add_note(failure, f"while `{node.value}` was imported for `{path}` ({node.origin})")
            raise failure from failure.__cause__
        if names[name] is None:
            message, hint = why_not_found(node.value, node.origin.source)
            problems.append(Problem(message, node.origin, path, hint))
    # `$import math` is sparkwheel's; configs that were written for it still have it
    for path, node in root.walk():
        if isinstance(node.value, str) and node.value.startswith("$") and node.value[1:].startswith(STATEMENTS):
            try:
                exec(node.value[1:], names)
            except ImportError as error:
                problems.append(Problem(f"this import fails: {error}", node.origin, path))
    if problems:
        raise ConfigError(problems)
    return names
