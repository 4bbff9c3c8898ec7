"""Inputs to one merged tree: files with their bases, dicts from Python, overrides from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from lighter.config import yaml
from lighter.config.merge import delete, edit, merge
from lighter.config.problems import Problem, indefinite
from lighter.config.tree import Node, Origin, Source, from_plain, join, split
from lighter.errors import ConfigError

Input = str | PathLike[str] | Mapping[str, Any]

MAX_BYTES = 10 * 1024 * 1024
_EXTERNAL = re.compile(r"%(?P<file>[^%]*?\.ya?ml)(?:::(?P<path>.*))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Override:
    """One word of the command line that changes the config: `a::b=1`, `=a::b=1` (replace) or `~a::b` (delete)."""

    kind: str
    steps: tuple[str, ...]
    value: Node


def load(inputs: Sequence[Input]) -> Node:
    """The merged tree of all inputs, left to right, with the overrides applied last.

    Raises:
        ConfigError: with everything that is wrong with the inputs.
    """
    problems: list[Problem] = []
    files, overrides = _sort(inputs, problems)
    root = Node({}, Origin(Source("config")))
    for item in files:
        tree = _from_python(item, problems) if isinstance(item, Mapping) else load_file(item, problems)
        root = merge(root, tree, problems)
    for override in overrides:
        if override.kind == "~":
            delete(root, list(override.steps), override.value, problems)
        else:
            edit(root, list(override.steps), override.value, problems, replace=override.kind == "=")
    if problems:
        raise ConfigError(problems)
    return root


def is_override(word: str) -> bool:
    """Whether a word is an override and not a file: no such file, and an `=` or a leading `~` in it."""
    return not Path(word).is_file() and ("=" in word or word.startswith("~"))


def _sort(inputs: Sequence[Input], problems: list[Problem]) -> tuple[list[Path | Mapping[str, Any]], list[Override]]:
    files: list[Path | Mapping[str, Any]] = []
    overrides: list[Override] = []
    for item in inputs:
        if isinstance(item, Mapping):
            files.append(item)
        elif isinstance(item, str) and is_override(item):
            override = parse_override(item, problems)
            overrides += [override] if override else []
        else:
            files.append(Path(item))
    if not files:
        problems.append(Problem("no config file is given", hint="Usage: lighter fit config.yaml [key::path=value ...]"))
    return files, overrides


def parse_override(word: str, problems: list[Problem]) -> Override | None:
    """An override, or None and a problem. The value is YAML; one that starts with `@`, `%` or `$` is taken as text."""
    source = Source("command line", word)
    kind = word[0] if word[0] in "=~" else ""
    path, equals, text = word[len(kind) :].partition("=")
    start = len(word) - len(text)
    key_origin = Origin(source, 1, len(kind) + 1)
    if not path.strip():
        problems.append(
            Problem("an override names what it changes", key_origin, hint="For example: trainer::max_epochs=5")
        )
        return None
    if kind == "=" and not equals:
        hint = f"Write ={path}=VALUE to replace it, ~{path} to delete it."
        problems.append(Problem("an override that replaces needs a value", key_origin, path, hint))
        return None
    if text[:1] in ("@", "%", "$"):
        value: Node | None = Node(text, Origin(source, 1, start + 1))
    elif equals:
        value = yaml.parse(source, problems, offset=start)
    else:
        value = Node(None, key_origin)
    if value is None:
        return None
    value.key_origin = key_origin
    value = _with_external(value, problems, ())
    return Override(kind, tuple(split(path.strip())), value)


def load_file(path: Path, problems: list[Problem], within: tuple[Path, ...] = ()) -> Node:
    """The tree of one file, over the trees of its `_base_` files; empty where a problem stands in the way."""
    name = str(path)
    text = _read(path, problems)
    if text is None:
        return Node({}, Origin(Source(name)))
    source = Source(name, text, path.parent, is_file=True)
    tree = yaml.parse(source, problems)
    if tree is None or tree.value is None:
        return Node({}, Origin(source))
    if not isinstance(tree.value, dict):
        problems.append(
            Problem(f"a config is a mapping of keys to values; found {indefinite(tree.value)}", tree.origin)
        )
        return Node({}, Origin(source))
    return _over_bases(_with_external(tree, problems, within), problems, (*within, path.resolve()))


def _read(path: Path, problems: list[Problem]) -> str | None:
    hint = ""
    try:
        if path.stat().st_size > MAX_BYTES:
            problems.append(Problem(f"{path}: a config file has at most {MAX_BYTES // 2**20} MB"))
            return None
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text (byte {error.start})"
    except FileNotFoundError:
        what = "there is no such file"
        from lighter.config.problems import nearest

        siblings = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        hint = nearest(path, sorted(siblings))
        if not path.suffix:
            hint = "An override is written key=value, a file ends in .yaml." if not hint else hint
    except IsADirectoryError:
        what = "this is a folder, not a file"
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    problems.append(Problem(f"{path}: {what}", hint=hint))
    return None


def _over_bases(tree: Node, problems: list[Problem], within: tuple[Path, ...]) -> Node:
    named = tree.value.pop("_base_", None)
    if named is None:
        return tree
    items = named.value if isinstance(named.value, list) else [named]
    below = Node({}, tree.origin)
    for item in items:
        if not isinstance(item.value, str):
            problems.append(Problem("`_base_` takes a file name or a list of them", item.origin, "_base_"))
            continue
        base = _referred_file(item.value, item, problems, within, relative_only=True)
        below = merge(below, base, problems) if base is not None else below
    return merge(below, tree, problems)


def _referred_file(
    name: str, node: Node, problems: list[Problem], within: tuple[Path, ...], *, relative_only: bool
) -> Node | None:
    """The tree of a file named in a config: relative to that config, or else to the working directory."""
    path = node.origin.source.folder / Path(name).expanduser()
    if not path.is_file() and not relative_only and Path(name).is_file():
        path = Path(name)
    if not path.is_file():
        problems.append(Problem(f"there is no file {path}", node.origin))
        return None
    if path.resolve() in within:
        circle = " -> ".join(file.name for file in (*within, path))
        problems.append(Problem(f"the files refer to each other in a circle: {circle}", node.origin))
        return None
    return load_file(path, problems, within)


def _with_external(node: Node, problems: list[Problem], within: tuple[Path, ...]) -> Node:
    """The tree with every `%file.yaml::path` replaced by what stands there; `%path` in that file means that file."""
    if isinstance(node.value, dict):
        value: Any = {key: _with_external(child, problems, within) for key, child in node.value.items()}
        return Node(value, node.origin, node.key_origin)
    if isinstance(node.value, list):
        value = [_with_external(child, problems, within) for child in node.value]
        return Node(value, node.origin, node.key_origin)
    match = _EXTERNAL.match(node.value) if isinstance(node.value, str) else None
    if match is None:
        return node
    here = (*within, Path(node.origin.source.name).resolve()) if node.origin.source.is_file else within
    tree = _referred_file(match["file"], node, problems, here, relative_only=False)
    if tree is None:
        return node
    from lighter.config.references import expand

    found = expand(merge(None, tree, problems), problems).find(match["path"] or "")
    if found is None:
        problems.append(Problem(f"{match['file']} has no `{match['path']}`", node.origin))
        return node
    return Node(found.value, found.origin, node.key_origin)


def _from_python(data: Mapping[str, Any], problems: list[Problem]) -> Node:
    source = Source("Python")
    tree = from_plain(dict(data), Origin(source))
    return _over_bases(_with_external(tree, problems, ()), problems, ())


def with_default(root: Node, path: str, value: Any) -> Node:
    """The tree with a value of our own at a path that the user left open."""
    if root.find(path) is not None:
        return root
    copied = Node(dict(root.value), root.origin, root.key_origin)
    edit(copied, split(path), from_plain(value, Origin(replace(Source("default"), text=join("", path)))), [])
    return copied
