"""Hydra's overrides: `key.path=value` changes what is there, `+` adds a value, `++` does either, `~` deletes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lighter.config import yaml
from lighter.config.problems import Problem, Problems, nearest, shortened
from lighter.config.tree import SEPARATOR, Node, Origin, Source
from lighter.convert.nodes import below
from lighter.convert.reading import overlaid
from lighter.errors import ConfigError

_PREFIXES = ("++", "+", "~", "")
_OF_HYDRA = "hydra"  # whose own defaults are in no file of the project


@dataclass(frozen=True)
class Word:
    """An override; `name` is a path, or a group, and `text` is empty where it is deleted."""

    word: str
    prefix: str
    name: str
    text: str

    @property
    def deletes(self) -> bool:
        return self.prefix == "~"

    @property
    def origin(self) -> Origin:
        return Origin(Source("command line", self.word))

    def wrong(self, found: str, hint: str = "") -> ConfigError:
        return ConfigError([Problem(found, self.origin, self.name, hint)])

    def value(self) -> Node:
        problems = Problems()
        node = yaml.parse(self.origin.source, problems, offset=len(self.word) - len(self.text))
        if node is None or problems:
            raise ConfigError(problems)
        return node


def read_word(word: str) -> Word:
    """Return an override; raise a `ConfigError` where it names nothing."""
    prefix = next(prefix for prefix in _PREFIXES if word.startswith(prefix))
    name, _, text = word.removeprefix(prefix).partition("=")
    read = Word(word, prefix, name.strip(), text)
    if not all(read.name.split(".")):
        raise read.wrong("this names no key", "An override is `key.path=value`, or `group=option`.")
    return read


def changed(tree: Node, word: Word, groups: Sequence[str], *, is_whole: bool) -> Node:
    """Return a composed tree with an override; raise a `ConfigError` where Hydra refuses it.

    A tree that is not whole may lack the keys of files that are elsewhere.
    """
    steps = word.name.split(".")
    if is_whole and steps[0] != _OF_HYDRA:
        if word.prefix in ("", "~"):
            _check(tree, steps, word, groups)
        _check_value(tree.find(SEPARATOR.join(steps)), word)
    return _without(tree, steps) if word.deletes else overlaid(tree, within(steps, word.value()))


def _check(tree: Node, steps: Sequence[str], word: Word, groups: Sequence[str]) -> None:
    node = tree
    for step in steps:
        if isinstance(node.value, str):  # an interpolation, or a value that is to be given
            return
        names = {str(key): child for key, child in node.children()}
        if step not in names:
            how = "" if word.deletes else f"To add it, write `+{word.word}`."
            raise word.wrong(
                f"there is no `{step}` here", " ".join(filter(None, (nearest(step, [*names, *groups]), how)))
            )
        node, groups = names[step], ()


def _check_value(node: Node | None, word: Word) -> None:
    if node is None or node.value is None:
        return
    if word.prefix == "+" and not isinstance(word.value().value, (dict, list)):
        raise word.wrong("this is there already", f"To change it, write `{word.word.removeprefix('+')}`.")
    if word.deletes and word.text and word.value().plain() != node.plain():
        raise word.wrong(f"this is {shortened(str(node.plain()), 60)}, and not {word.text}: it is not deleted")


def _without(tree: Node, steps: Sequence[str]) -> Node:
    if not isinstance(tree.value, dict):
        return tree
    kept = {key: node for key, node in tree.value.items() if len(steps) > 1 or str(key) != steps[0]}
    if len(steps) > 1 and steps[0] in kept:
        kept[steps[0]] = _without(kept[steps[0]], steps[1:])
    return below(tree, kept)


def within(steps: Sequence[str], content: Node) -> Node:
    """Return a tree that has some content at a path."""
    for step in reversed(steps):
        content = Node({step: content}, content.origin, content.origin)
    return content
