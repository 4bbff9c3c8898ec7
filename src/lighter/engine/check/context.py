"""The facts that the second tier of the check has about a config, and the problems that it gathers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lighter.base import BaseModule
from lighter.config.check.calls import plain
from lighter.config.problems import ERROR, Problem, Problems
from lighter.config.references import followed
from lighter.config.suggestions import find_step
from lighter.config.tree import Node, disabled, is_target, join
from lighter.engine.plan import StagePlan

_LIBRARIES = ("lighter", "pytorch_lightning", "lightning", "torch", "builtins")


@dataclass
class Context:
    """A config whose targets are imported.

    Attributes:
        tree: the config, its copies worked out.
        constructs: whether objects of torch, torchmetrics and Lightning may be made to see if they take their values.
        targets: the class or function of each definition that the stage needs, by path.
        partial: of these, the ones whose target is handed over instead of called, or whose definition is a template.
        filled: the argument that the engine adds to a definition, by path.
        deferred: the paths of what is built when the trainer asks for it.
        failures: targets whose modules raise while they are imported.
        plan: what the stage builds; None before the targets are found.
    """

    tree: Node
    section: str
    stage: str
    constructs: bool = True
    targets: dict[str, Any] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)
    filled: dict[str, str] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=Problems)
    failures: list[Problem] = field(default_factory=Problems)
    plan: StagePlan | None = None

    @property
    def module(self) -> type[BaseModule] | None:
        """The module's class, if it is one of Lighter's or inherits one."""
        kind = self.kind(self.section)
        return kind if kind is not None and issubclass(kind, BaseModule) else None

    def node(self, path: str) -> Node:
        node = self.tree.find(path)
        if node is None:
            raise KeyError(path)
        return node

    def followed(self, path: str) -> str:
        return followed(self.tree, path)

    def kind(self, path: str) -> type | None:
        """Return the class of the object at a path, through references; None where that is not known."""
        target = self.targets.get(self.followed(path))
        return target if isinstance(target, type) else None

    def argument(self, path: str, *keys: str) -> tuple[str, Node] | None:
        """Return path and value of an argument, or of one in it, through references; None where it is not, or null."""
        node = None
        for key in keys:
            path = self.followed(join(self.followed(path), key))
            node = self.tree.find(path)
            if node is None or node.value is None:
                return None
        return (path, node) if node is not None else None

    def plain(self, path: str, key: str, default: Any = None) -> Any:
        """Return an argument as plain data; the default where it is left out or null."""
        argument = self.argument(path, key)
        return plain(argument[1]) if argument is not None else default

    def items(self, path: str) -> list[str]:
        """Return the paths of a list's items; of any other value its own, of none nothing."""
        node = self.tree.find(path)
        if node is None:
            return []
        return [join(path, step) for step in node.steps()] if isinstance(node.value, list) else [path]

    def objects(self, key: str) -> Iterator[tuple[str, type | None]]:
        """Yield path and class of each enabled object in an argument of the trainer, alone or in a list."""
        argument = self.argument("trainer", key)
        for path in self.items(argument[0]) if argument is not None else ():
            if not is_disabled(self.node(path)):
                yield path, self.kind(path)

    def problem(self, message: str, path: str, hint: str = "", severity: str = ERROR, *, at_key: bool = False) -> None:
        """Add a problem about the value at a path, or else about the nearest thing around it."""
        here, node = find_step(self.tree, path)
        origin = node.origin if here else None
        if is_target(node.value):
            origin = node.value["_target_"].origin
        if at_key and here == path:
            origin = node.key_origin or origin
        self.problems.append(Problem(message, origin, path, hint, severity))


def is_disabled(node: Node) -> bool:
    return disabled(node.value) is not False


def members_of_users(kind: type) -> list[object]:
    """Return the members of the user's own classes among the bases of a class."""
    users = [each for each in kind.__mro__ if each.__module__.partition(".")[0] not in _LIBRARIES]
    return [member for each in users for member in vars(each).values()]


def is_ours(kind: type) -> bool:
    """Return whether the constructor of a class is Lighter's own."""
    constructor = inspect.getattr_static(kind, "__init__")
    return str(getattr(constructor, "__module__", "")).startswith("lighter.")
