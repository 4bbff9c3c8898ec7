"""Find the private names of other packages in Lighter's source, without importing it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Set
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src/lighter"
ROOM = PACKAGE / "_lightning"
PRIVATE = re.compile(r"_(?!lighter)[A-Za-z]\w*")  # no dunder, and no attribute that we set on an object of the user's
STANDARD_LIBRARY = {"_exit", "_run_exitfuncs", "_shutdown", "_getframe", "_asdict", "_fields", "_replace"}
# of sparkwheel, fsspec and submitit, which shows no script before it submits one: tests/launch run that
OTHERS = {"_original_message", "_strip_protocol", "_make_submission_file_text", "_submitit_command_str"}
REGISTRIES = {"_modules", "_parameters", "_buffers"}  # of `nn.Module`, which its subclasses may read


def parsed(folder: Path) -> dict[Path, ast.Module]:
    """The syntax trees of the files below a folder."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}


def defined_in(tree: ast.AST) -> set[str]:
    """The private names that a file defines: functions, classes, variables, attributes, slots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            names |= {item.value for item in ast.walk(node.value) if isinstance(item, ast.Constant)}
    return {name for name in names if isinstance(name, str) and PRIVATE.fullmatch(name)}


def imported_by(node: ast.AST) -> Iterator[str]:
    """The private names, or parts of a module's path, that an import takes from another package."""
    package = str(node.module).split(".")[0] if isinstance(node, ast.ImportFrom) else "lighter"
    if package != "lighter" and package not in sys.stdlib_module_names:
        yield from (alias.name for alias in node.names)  # type: ignore[attr-defined]


def room_names() -> dict[str, set[str]]:
    """The private names that the room uses, with the files that do; helpers at the top of its modules are ours."""
    names: dict[str, set[str]] = {}
    for path, tree in parsed(ROOM).items():
        ours = set().union(*(defined_in(ast.Module([node], [])) & top_names(node) for node in tree.body))
        for node in ast.walk(tree):
            for name in {*imported_by(node), *spelled_by(node)} - ours:
                if PRIVATE.fullmatch(name):
                    names.setdefault(name, set()).add(path.name)
    return names


def top_names(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)}


def spelled_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, (ast.FunctionDef, ast.Name)):
        yield node.name if isinstance(node, ast.FunctionDef) else node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def outside_the_room(known: Set[str]) -> Iterator[str]:
    """Each use of another package's private name elsewhere, as `file: name`.

    Args:
        known: names that are private to other packages; one of our own of the same name has to be defined in the file.
    """
    trees = {path: tree for path, tree in parsed(PACKAGE).items() if ROOM not in path.parents}
    ours = set().union(*map(defined_in, trees.values())) - known
    for path, tree in trees.items():
        allowed = ours | defined_in(tree) | STANDARD_LIBRARY | OTHERS | REGISTRIES
        for node in ast.walk(tree):
            names = set(imported_by(node))
            if isinstance(node, ast.Attribute):
                names |= {node.attr} - allowed
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value} & known - allowed
            yield from (f"{path.relative_to(PACKAGE)}: {name}" for name in names if PRIVATE.fullmatch(name))
