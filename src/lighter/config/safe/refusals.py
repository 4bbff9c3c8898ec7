"""Yield all that safe mode refuses in a config, found by reading it. Nothing is imported, and all is shown at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lighter.config.imports import imports_of, written_imports
from lighter.config.problems import Problem
from lighter.config.references import followed
from lighter.config.safe import expressions
from lighter.config.safe.mode import RefusedError, SafeMode
from lighter.config.tree import SPECIAL, Node, is_reference, is_target, join

_MODES = ("default", "callable")
_DEFAULT_TRAINER = "lighter.Trainer"


def refuse(root: Node, mode: SafeMode, problems: list[Problem]) -> None:
    """Add a problem for everything in an expanded config that safe mode does not permit; a copy counts once."""
    refused: list[Problem] = []
    _refuse_all(root, mode, refused)
    # A copy stands in several places, and its mistake once in the text.
    seen = set()
    for problem in refused:
        if (problem.message, problem.origin) not in seen:
            problems.append(problem)
        seen.add((problem.message, problem.origin))


def _refuse_all(root: Node, mode: SafeMode, problems: list[Problem]) -> None:
    imports = imports_of(root)
    for name, child in written_imports(root).items():
        if not isinstance(child.value, str) or is_reference(child.value):
            message = "an import is a dotted name, such as `numpy`, written here"
            problems.append(Problem(message, child.origin, join("_imports_", name)))
    _refuse_sections(root, mode, problems)
    trainer = root.child("trainer")
    if trainer is not None and isinstance(trainer.value, dict) and not is_target(trainer.value):
        _refuse_call(_DEFAULT_TRAINER, trainer, "trainer", mode, problems)
    for path, node in root.walk():
        if is_target(node.value):
            _refuse_definition(path, node, mode, problems)
        elif isinstance(node.value, str) and node.value.startswith("$"):
            for refused in expressions.refusals(node.value[1:], imports, mode):
                problems.append(_problem(refused, node, path))


def _refuse_sections(root: Node, mode: SafeMode, problems: list[Problem]) -> None:
    folder = root.find("run::dir")
    if folder is not None:
        with _noting(folder, "run::dir", problems):
            mode.check_path(folder.value, "run::dir")
    split = root.find(join(followed(root, "data"), "split::file"))
    if split is not None and isinstance(split.value, str):
        with _noting(split, "data::split::file", problems):
            mode.check_path(split.value, "file")
    project = root.child("project")
    if project is not None and isinstance(project.value, str) and mode.project is None:
        message = "safe mode imports no folder that a config names"
        hint = f"If you trust all that is in it: --allow_project {project.origin.source.folder / project.value}"
        problems.append(Problem(message, project.origin, "project", hint))
    for stage, node in root.section("args").items():
        path = node.child("ckpt_path")
        if path is not None and path.value not in ("last", "best", None) and not is_reference(path.value):
            with _noting(path, f"args::{stage}::ckpt_path", problems):
                mode.check_path(path.value, "ckpt_path")


def _refuse_definition(path: str, node: Node, mode: SafeMode, problems: list[Problem]) -> None:
    target = node.value["_target_"]
    name = target.value
    if not isinstance(name, str) or is_reference(name):
        message = "in safe mode `_target_` is the name itself, not worked out from something else"
        problems.append(Problem(message, target.origin, path))
        return
    if not mode.permits(name):
        problems.append(_problem(mode.refusal(name), target, path))
        return
    _refuse_call(name, node, path, mode, problems)


def _unusual_keys(node: Node) -> Iterator[tuple[RefusedError, Node]]:
    # A form that only a run would work out could hide from this reading.
    made = node.value.get("_mode_")
    if made is not None and made.value not in _MODES:
        yield RefusedError(f"in safe mode `_mode_` is {' or '.join(_MODES)}"), made
    args = node.value.get("_args_")
    if args is not None and not isinstance(args.value, list):
        yield RefusedError("in safe mode `_args_` is a list"), args
    off = node.value.get("_disabled_")
    if off is not None and is_reference(off.value):
        yield RefusedError("in safe mode `_disabled_` is true or false"), off
    for key, child in node.value.items():
        if str(key).startswith("_") and str(key).endswith("_") and key not in SPECIAL:
            yield RefusedError(f"`{key}` is no key of a definition"), child


def _refuse_call(name: str, node: Node, path: str, mode: SafeMode, problems: list[Problem]) -> None:
    """Check the arguments that are written here."""
    problems += [_problem(refused, where, path) for refused, where in _unusual_keys(node)]
    for key, child in node.value.items():
        # Those that are worked out are checked when the call is made, with their values.
        is_worked_out = any(is_target(inner.value) or is_reference(inner.value) for _, inner in child.walk())
        if key not in SPECIAL and not is_worked_out:
            with _noting(child, join(path, key), problems):
                mode.check_argument(name, str(key), child.plain())


@contextmanager
def _noting(node: Node, path: str, problems: list[Problem]) -> Iterator[None]:
    try:
        yield
    except RefusedError as refused:
        problems.append(_problem(refused, node, path))


def _problem(refused: RefusedError, node: Node, path: str) -> Problem:
    return Problem(str(refused), node.origin, path, refused.hint)
