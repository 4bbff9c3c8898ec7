"""References between values: `%a::b` copies a definition, `@a::b` names the object made from it.

`expand` works out the copies on the tree, so that each copied value keeps the place where it was written;
`check_references` finds the references to nothing. Following `@` and evaluating `$` come later (`config.resolver`).
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from lighter.config.expression import COPIES, from_top, referred
from lighter.config.expression import absolute as made_absolute
from lighter.config.problems import Problem, shortened
from lighter.config.suggestions import levels_up, suggest
from lighter.config.tree import (
    MAX_DEPTH,
    SEPARATOR,
    Node,
    Origin,
    Source,
    is_reference,
    join,
    prefixes,
    same_key,
    split,
)
from lighter.config.yaml import MAX_NODES

WholeFile = Callable[[str, Node], "Node | None"]
_EXTERNAL = re.compile(r"%(?P<file>[^%]*?\.ya?ml)(?:::(?P<path>.*))?\Z", re.IGNORECASE)
_REFERENCE = re.compile(r"@\w+(?:::\w+)*\Z")
_ANY_COPY = re.compile(r"%(?:::)*\w+(?:::\w+)*")
_TOKENS = re.compile(
    r"""(?P<text>\'\'\'.*?\'\'\'|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
    |(?P<copy>%(?:::)*[A-Za-z_]\w*(?:::\w+)*)|(?P<word>\w+)|\s+|(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)


def expand(root: Node, problems: list[Problem]) -> Node:
    """Return the tree with a copy in place of each `%a::b` and `%::b`, those inside `$` expressions included."""
    copies = _Copies(root, problems)
    expanded = copies.made(lambda: copies.of(root, "", root))
    if copies.for_expressions and isinstance(expanded.value, dict):
        expanded.value[COPIES] = Node(copies.for_expressions, Origin(Source("config")))
    return expanded


def expand_external(root: Node, whole_file: WholeFile, problems: list[Problem]) -> Node:
    """Return the tree with a copy in place of each `%file.yaml::a`; a `%b` in that file is found in that file."""
    copies = _Copies(root, problems, whole_file)
    return copies.made(lambda: copies.of(root, "", root))


def check_references(root: Node, problems: list[Problem]) -> None:
    """Add a problem for each `@a::b` of an expanded tree that names nothing."""
    for path, node in root.walk():
        # In a search space they are those of the members' configs, which `where` checks itself.
        is_of_members = path.startswith("experiment::search::")
        if is_of_members or not isinstance(node.value, str) or node.value[:1] not in ("@", "$"):
            continue
        absolute = _absolute(path, node, problems)
        if absolute is None:
            continue
        if absolute[0] == "@" and not _REFERENCE.match(absolute):
            message = f"`{shortened(node.value, 60)}` is no reference: that is names and indices, joined by `::`"
            meant = "@" + re.sub(r"[.:#]+", SEPARATOR, absolute[1:])
            hint = "Names that are referred to are made of letters, digits and `_`."
            hint = f"Did you mean `{meant}`?" if _REFERENCE.match(meant) and root.find(meant[1:]) is not None else hint
            problems.append(Problem(message, node.origin, path, hint))
            continue
        for target in referred(absolute):
            if root.find(target) is None:
                hint = levels_up(root, path, node.value, target) or suggest(root, target)
                problems.append(Problem(f"`@{target}` refers to nothing", node.origin, path, hint))


class _TooManyError(Exception):
    pass


class _Copies:
    """Work out copies: those within `root`, or with `whole_file` only those from other files.

    A method's last argument is the tree that a path is looked up in: `root`, or that of another file.
    """

    def __init__(self, root: Node, problems: list[Problem], whole_file: WholeFile | None = None) -> None:
        self.root, self.problems, self.whole_file = root, problems, whole_file
        self.for_expressions: list[Node] = []
        self.open: list[tuple[int, str]] = []
        self.depth = 0
        self.count = 0

    def made(self, make: Callable[[], Node]) -> Node:
        try:
            return make()
        except _TooManyError:
            return self.root

    def of(self, node: Node, path: str, tree: Node) -> Node:
        value = node.value
        if isinstance(value, str):
            return self.of_text(node, path, tree) if value[:1] in ("%", "$") and "%" in value else node
        if not isinstance(value, (dict, list)):
            return node
        self.counted(len(value) + 1, node, path)
        self.depth += 1
        if isinstance(value, dict):
            value = {key: self.of(child, join(path, key), tree) for key, child in value.items()}
        else:
            value = [self.of(child, join(path, index), tree) for index, child in enumerate(value)]
        self.depth -= 1
        return Node(value, node.origin, node.key_origin)

    def of_text(self, node: Node, path: str, tree: Node) -> Node:
        if node.value[0] == "$":
            return self.of_expression(node, path, tree)
        external = _EXTERNAL.match(node.value)
        if external is not None and self.whole_file is not None:
            other = self.whole_file(external["file"], node)
            copy = self.look_up(external["path"] or "", node, path, other) if other is not None else None
        elif external is not None or (self.whole_file is not None and tree is self.root):
            # The other file lacks it, which is a problem already; or it is not yet to be worked out.
            return node
        else:
            absolute = _absolute(path, node, self.problems)
            copy = self.look_up(absolute[1:].strip(), node, path, tree) if absolute is not None else None
        return Node(copy.value, copy.origin, node.key_origin) if copy is not None else node

    def look_up(self, target: str, node: Node, path: str, tree: Node) -> Node | None:
        """Return what stands at a path, through other copies on the way, expanded itself."""
        if (id(tree), target) in self.open:
            names = [name for _, name in self.open]
            circle = " -> ".join([*names[names.index(target) :], target])
            message = f"copies refer to each other in a circle: {shortened(circle, 200)}"
            self.problems.append(Problem(message, node.origin, path))
            return None
        self.open.append((id(tree), target))
        self.counted(1, node, path)
        self.depth += 1
        original, here = self.walked(target, tree)
        original = self.of(original, here, tree) if original is not None else None
        self.depth -= 1
        self.open.pop()
        if original is None:
            hint = levels_up(tree, path, node.value, target) or suggest(tree, target)
            self.problems.append(Problem(f"`{shortened(node.value, 60)}` refers to nothing", node.origin, path, hint))
        return original

    def walked(self, target: str, tree: Node) -> tuple[Node | None, str]:
        node: Node | None = tree
        here = ""
        for step in split(target):
            if node is not None and is_reference(node.value) and node.value[0] == "%":
                node = self.of(node, here, tree)
            node = node.child(step) if node is not None else None
            here = join(here, step)
        return node, here

    def of_expression(self, node: Node, path: str, tree: Node) -> Node:
        """Return the expression with `@__copies__::0` in place of the `%a::b` in it: an object that nobody else has."""
        if self.whole_file is not None and tree is self.root:
            return node
        parts = []
        for text, is_copy in _split_copies(node.value):
            absolute = _absolute(path, Node(text, node.origin), self.problems) if is_copy else None
            copy = self.look_up(absolute[1:], node, path, tree) if absolute is not None else None
            if copy is not None and self.whole_file is not None:
                message = "an expression that is copied from another file cannot hold copies itself"
                hint = f"Give `{text}` a key of its own in that file, and refer to it by `@`."
                self.problems.append(Problem(message, node.origin, path, hint))
            if copy is not None:
                self.for_expressions.append(copy)
                text = f"@{COPIES}{SEPARATOR}{len(self.for_expressions) - 1}"
            elif is_copy:  # the problem is noted
                text = "None"
            parts.append(text)
        return Node("".join(parts), node.origin, node.key_origin)

    def counted(self, more: int, node: Node, path: str) -> None:
        self.count += more
        if self.count > MAX_NODES or self.depth > MAX_DEPTH:
            limit = (
                f"has more than {MAX_NODES:,} values" if self.count > MAX_NODES else f"is more than {MAX_DEPTH} deep"
            )
            self.problems.append(Problem(f"with its copies, this config {limit}", node.origin, path))
            raise _TooManyError


def _split_copies(expression: str) -> Iterator[tuple[str, bool]]:
    # `%` is Python's modulo too: after an operand it is that, elsewhere it begins a copy.
    after_operand = False
    for token in _TOKENS.finditer(expression):
        text = token[0]
        if token["copy"] and after_operand:
            yield text, False
        elif token["copy"]:
            yield text, True
            after_operand = True
        else:
            yield text, False
        if token["text"]:
            after_operand = True
        elif token["word"]:
            after_operand = not keyword.iskeyword(text) or text in ("None", "True", "False")
        elif token["sign"]:
            after_operand = text in ")]}"


def _absolute(path: str, node: Node, problems: list[Problem]) -> str | None:
    try:
        return made_absolute(path, node.value)
    except ValueError:
        message = "this relative reference goes up beyond the top of the config"
        hint = "`@::name` is a sibling; each further `::` is one level up."
        problems.append(Problem(message, node.origin, path, hint))
        return None


def followed(root: Node, path: str) -> str:
    """Return the path that a value leads to where it is a reference; otherwise its own."""
    seen: set[str] = set()
    while path not in seen:
        # References may go round in a circle, which the check reports.
        seen.add(path)
        node = root.find(path)
        if node is None or not isinstance(node.value, str) or not node.value.startswith("@"):
            break
        try:
            path = made_absolute(path, node.value)[1:].strip()
        except ValueError:  # it goes up beyond the top: a problem of its shape
            break
    return path


def drop_templates(merged: Node, expanded: Node) -> None:
    """Drop definitions under `vars` that only copies use, and whose relative references lead nowhere where they are."""
    references = [*references_in(expanded)]
    misplaced = [here for here, target in references if target is None or expanded.find(target) is None]
    if not misplaced:
        return
    # What they refer to stands beside the copies, which are checked there.
    copied = {path for path in copied_paths(merged) if path.startswith(f"vars{SEPARATOR}")}
    for path in copied.intersection(prefix for here in misplaced for prefix in prefixes(here)):
        others = [target for here, target in references if target is not None and not _is_within(here, path)]
        is_used = any(_is_within(target, path) or _is_within(path, target) for target in others)
        above = expanded.find(path.rpartition(SEPARATOR)[0])
        if not is_used and above is not None and isinstance(above.value, dict):
            above.value.pop(same_key(above.value, split(path)[-1]), None)


def references_in(root: Node) -> Iterator[tuple[str, str | None]]:
    """Yield where each `@` reference stands, and what it refers to; None where it goes up beyond the top."""
    for path, node in root.walk():
        if isinstance(node.value, str) and node.value[:1] in ("@", "$"):
            try:
                yield from ((path, target) for target in referred(made_absolute(path, node.value)))
            except ValueError:
                yield path, None


def _is_within(path: str, whole: str) -> bool:
    return f"{path}{SEPARATOR}".startswith(f"{whole}{SEPARATOR}")


def copied_paths(root: Node) -> set[str]:
    """Return the paths that `%` copies, in a tree whose copies are not worked out."""
    copied = set()
    for path, node in root.walk():
        if isinstance(node.value, str) and node.value[:1] in ("%", "$") and "%" in node.value:
            with suppress(ValueError):  # a problem of its own
                copied |= {copy[1:] for copy in _ANY_COPY.findall(from_top(path, node.value))}
    return copied
