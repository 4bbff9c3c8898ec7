"""ARCHITECTURE.md names every package, and no import runs upwards through its layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/lighter"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def block(begin: str) -> list[str]:
    return TEXT.partition(begin)[2].partition("```")[0].splitlines()


LAYERS = {name: number for number, line in enumerate(block("```layers\n")) for name in line.split()}


def is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node: ast.AST) -> Iterator[str]:
    """The modules of lighter that a syntax tree imports, at any depth, other than for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.startswith("lighter."))
        elif isinstance(child, ast.ImportFrom) and child.module == "lighter":
            yield from (f"lighter.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("lighter."):
            yield str(child.module)
        elif not is_typing(child):
            yield from imports(child)


def test_no_import_runs_upwards() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__")]
    assert len(files) > 100
    upwards = set()
    for path in files:
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
            other = module.split(".")[1]
            if LAYERS.get(other, -1) > LAYERS[own]:
                upwards.add(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not upwards


def test_every_package_and_top_module_is_in_the_tree() -> None:
    there = {f"{path.parent.name}/" for path in PACKAGE.rglob("__init__.py")} - {"lighter/", "project/"}
    there |= {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    named = {line.split()[0] for line in block("src/lighter/\n")}
    assert there == named - {"project_path/"}
    assert len(there) > 20


def test_layers_name_all_that_is_there() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {name for name in there if not name.startswith("__")} == set(LAYERS)
