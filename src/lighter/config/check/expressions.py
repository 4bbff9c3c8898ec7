"""Expressions: what is not Python, and names that nothing defines."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator

from lighter.config.check.other_tools import interpolation_in
from lighter.config.expression import STAND_IN, stand_ins
from lighter.config.imports import STATEMENTS, names_of_statement
from lighter.config.problems import Problem, close_to, closest, shortened
from lighter.config.tree import SEPARATOR, Node, is_reference, join
from lighter.config.yaml import quote_whole


def check_expressions(root: Node, problems: list[Problem]) -> None:
    expressions = []
    for path, node in root.walk():
        if not isinstance(node.value, str) or not node.value.startswith("$"):
            continue
        meant = interpolation_in(node.value, root) if node.value.startswith("${") else None
        if meant is None:
            expressions.append((path, node, stand_ins(node.value[1:])[0]))
        else:
            problems.append(Problem("`${...}` is OmegaConf's", node.origin, path, f"Write {meant}"))
    compiled = [(path, node, text) for path, node, text in expressions if _compiles(path, node, text, problems)]
    known = _imported(root)
    if known is None:
        return
    for _, _, text in compiled:
        known.update(names_of_statement(text))
    for path, node, text in compiled:
        for name in sorted(_free_names(text) - known - _BUILTINS):
            hint = _hint(name, path, root, known)
            problems.append(Problem(f"this expression uses the unknown name `{name}`", node.origin, path, hint))


def _hint(name: str, path: str, root: Node, known: set[str]) -> str:
    if name in _ENDS:
        return "It would end the program."
    beside = [join(path.rpartition(SEPARATOR)[0], name), join("vars", name)]
    meant = next((here for here in beside if here != path and root.find(here) is not None), None)
    if meant is not None:
        return f"A value of the config is referred to: `@{meant}`."
    builtin = close_to(name, sorted(_BUILTINS), cutoff=0.75)
    hint = closest(name, known) or (f"Did you mean `{builtin}`?" if builtin else "")
    return hint or f"Names come from `_imports_`; it has: {', '.join(sorted(known)) or 'none'}."


def _compiles(path: str, node: Node, text: str, problems: list[Problem]) -> bool:
    reason = None
    try:
        # `@a::b#c` would otherwise end silently at the `#`.
        if _HASH.search(text):
            raise SyntaxError("`#` begins a comment; the steps of a path are joined by `::`")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on style
            tree = ast.parse(text)
            if not tree.body or not isinstance(tree.body[0], (ast.Import, ast.ImportFrom)):
                compile(text, "<expression>", "eval")
    except SyntaxError as error:
        reason = error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
    if reason is not None:
        hint = quote_whole(node.origin, str(node.value))
        problems.append(Problem(f"this expression is not Python: {shortened(reason, 100)}", node.origin, path, hint))
    return reason is None


def _imported(root: Node) -> set[str] | None:
    node = root.child("_imports_")
    if node is None or node.value is None:
        return set()
    # Worked out later: then no name can be said to be unknown.
    if not isinstance(node.value, dict) or is_reference(node.value):
        return None
    return {str(name) for name in node.value}


def _free_names(text: str) -> set[str]:
    if text.startswith(STATEMENTS):
        return set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(text, "<expression>", "eval")
    # Names of lambdas and comprehensions are no names from outside.
    assigned = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    names = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table is top)
    }
    return {name for name in names - assigned if not name.startswith(STAND_IN)}


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


_HASH = re.compile(rf"{STAND_IN}\d+_#\w")
_ENDS = frozenset({"exit", "quit"})
_BUILTINS = frozenset({*dir(builtins), "__builtins__"}) - _ENDS
