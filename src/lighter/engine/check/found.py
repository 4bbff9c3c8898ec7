"""What the second tier of the check knows of a config, and what it found wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lighter.config import expression
from lighter.config.problems import ERROR, Problem, Problems
from lighter.config.references import followed
from lighter.config.tree import SEPARATOR, Node, is_target, join


@dataclass
class Found:
    """What a check found, and what it knows of the config.

    Attributes:
        tree: the config, its copies worked out.
        section: where the module is: `model` or `system`.
        stage: what is to run.
        asks: whether classes of torch, torchmetrics and Lightning are asked about values, by making objects.
        targets: the class or function of each definition that the stage needs, by path.
        later: of these, the ones whose target is handed over instead of called.
        filled: the arguments that the engine adds to some.
        problems: mistakes and warnings of the config.
        failures: targets whose modules raise while they are imported.
    """

    tree: Node
    section: str
    stage: str
    asks: bool = True
    targets: dict[str, Any] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    filled: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=Problems)
    failures: list[Problem] = field(default_factory=Problems)

    def node(self, path: str) -> Node:
        """What stands at a path that is there."""
        found = self.tree.find(path)
        if found is None:
            raise KeyError(path)
        return found

    def followed(self, path: str) -> str:
        """The path that a value leads to where it is a reference; otherwise its own."""
        return followed(self.tree, path)

    def kind(self, path: str) -> type | None:
        """The class of the object at a path, through references; None where that is not known."""
        target = self.targets.get(self.followed(path))
        return target if isinstance(target, type) else None

    def argument(self, path: str, key: str) -> tuple[str, Node] | None:
        """Path and value of an argument, through references; None where there is none."""
        here = join(self.followed(path), key)
        if self.tree.find(here) is None:
            return None
        here = self.followed(here)
        node = self.tree.find(here)
        return (here, node) if node is not None and node.value is not None else None

    def problem(self, message: str, path: str, hint: str = "", severity: str = ERROR, *, at_key: bool = False) -> None:
        """Add a problem about what stands at a path, or else about the nearest thing around it."""
        here = path
        while here and self.tree.find(here) is None:
            here = here.rpartition(SEPARATOR)[0]
        node = self.tree.find(here)
        origin = node.origin if node is not None and here else None
        if node is not None and is_target(node.value):
            origin = node.value["_target_"].origin
        if node is not None and at_key and here == path:
            origin = node.key_origin or origin
        self.problems.append(Problem(message, origin, path, hint, severity))


def absolute(path: str, text: str) -> str:
    """A reference or expression with its relative paths worked out; empty where they lead nowhere."""
    try:
        return expression.absolute(path, text)
    except ValueError:  # it goes up beyond the top: a problem of its shape
        return ""
