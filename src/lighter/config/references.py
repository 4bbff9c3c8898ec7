"""References between values: `%a::b` copies a definition, `@a::b` names the object made from it.

`expand` works out the copies on the tree, so that each copied value keeps the place where it was written;
`check_references` finds the references to nothing. Following `@` and evaluating `$` is sparkwheel's (`config.objects`).
"""

from __future__ import annotations

import re

from sparkwheel.path_utils import resolve_relative_ids, scan_references

from lighter.config.problems import Problem, nearest
from lighter.config.tree import SEPARATOR, Node, Origin, Source, join, split

COPIES = "__copies__"  # where the copies stand that expressions ask for by %a::b
_IN_EXPRESSION = re.compile(r"(?<![\w)\]'\"])(?P<space>\s*)%(?P<path>[A-Za-z_]\w*(?:::\w+)*)")


def expand(root: Node, problems: list[Problem]) -> Node:
    """The tree with a copy in place of each `%a::b` and `%::b`, those inside `$` expressions included."""
    return _Expansion(root, problems).run()


def check_references(root: Node, problems: list[Problem]) -> None:
    """A problem for each `@a::b` of an expanded tree that names nothing."""
    for path, node in root.walk():
        if not isinstance(node.value, str) or node.value[:1] not in ("@", "$"):
            continue
        absolute = _absolute(path, node, problems)
        if absolute is None:
            continue
        for target in scan_references(absolute):
            if root.find(target) is None:
                problems.append(Problem(f"`@{target}` refers to nothing", node.origin, path, _suggest(root, target)))


class _Expansion:
    def __init__(self, root: Node, problems: list[Problem]) -> None:
        self.root, self.problems = root, problems
        self.copies: list[Node] = []
        self.open: list[str] = []

    def run(self) -> Node:
        expanded = self.of(self.root, "")
        if self.copies and isinstance(expanded.value, dict):
            expanded.value[COPIES] = Node(self.copies, Origin(Source("config")))
        return expanded

    def of(self, node: Node, path: str) -> Node:
        if isinstance(node.value, dict):
            children = {key: self.of(child, join(path, key)) for key, child in node.value.items()}
            return Node(children, node.origin, node.key_origin)
        if isinstance(node.value, list):
            items = [self.of(child, join(path, index)) for index, child in enumerate(node.value)]
            return Node(items, node.origin, node.key_origin)
        if isinstance(node.value, str) and node.value.startswith("%"):
            return self.copy(node, path)
        if isinstance(node.value, str) and node.value.startswith("$") and "%" in node.value:
            text = _IN_EXPRESSION.sub(lambda match: self.in_expression(match, node, path), node.value)
            return Node(text, node.origin, node.key_origin)
        return node

    def copy(self, node: Node, path: str) -> Node:
        absolute = _absolute(path, node, self.problems)
        if absolute is None:
            return node
        target = absolute[1:].strip()
        found = self.look_up(target, node, path)
        return Node(found.value, found.origin, node.key_origin) if found is not None else node

    def look_up(self, target: str, node: Node, path: str) -> Node | None:
        """What stands at a path, through other copies on the way, expanded itself."""
        if target in self.open:
            circle = " -> ".join([*self.open, target])
            self.problems.append(Problem(f"copies refer to each other in a circle: {circle}", node.origin, path))
            return None
        self.open.append(target)
        found: Node | None = self.root
        here = ""
        for step in split(target):
            if found is not None and isinstance(found.value, str) and found.value.startswith("%"):
                found = self.of(found, here)
            found = found.child(step) if found is not None else None
            here = join(here, step)
        found = self.of(found, target) if found is not None else None
        self.open.pop()
        if found is None:
            self.problems.append(
                Problem(f"`%{target}` refers to nothing", node.origin, path, _suggest(self.root, target))
            )
        return found

    def in_expression(self, match: re.Match[str], node: Node, path: str) -> str:
        if self.root.find(match["path"]) is None:  # a modulo, not a reference
            return match[0]
        found = self.look_up(match["path"], node, path)
        if found is None:
            return match[0]
        self.copies.append(found)
        return f"{match['space']}@{COPIES}{SEPARATOR}{len(self.copies) - 1}"


def _absolute(path: str, node: Node, problems: list[Problem]) -> str | None:
    try:
        return str(resolve_relative_ids(path, node.value))
    except ValueError:
        message = "this relative reference goes up beyond the top of the config"
        problems.append(
            Problem(message, node.origin, path, "`@::name` is a sibling; each further `::` is one level up.")
        )
        return None


def _suggest(root: Node, target: str) -> str:
    """The nearest path that exists: the last step that fits, and what is there."""
    here, node = "", root
    for step in split(target):
        child = node.child(step)
        if child is None:
            break
        here, node = join(here, step), child
    else:
        return ""
    step = split(target)[len(split(here))]
    if isinstance(node.value, str) and node.value[:1] in ("@", "$"):
        return f"`{here}` is itself a reference or an expression; one cannot look inside it."
    if node.steps():
        hint = nearest(step, [join(here, known) for known in node.steps()])
        close = nearest(join(here, step), [join(here, known) for known in node.steps()])
        return close if close.startswith("Did") else hint
    return f"`{here}` is a single value." if here else ""
