"""All that names a path of a config: keys and references, in its files and in those that are built on them.

A rename is tried on copies of the texts first. It is refused unless the merged configs are then the same but for the
name, and have no new problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.config import Config, examine
from lighter.config.check.sections import SECTIONS
from lighter.config.expression import from_top
from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR, SPECIAL, Node, is_index, is_reference, is_target, join, split
from lighter.editor.server import schema_at
from lighter.editor.server.completion import targets_on_the_way
from lighter.editor.server.cursor import written_path
from lighter.editor.server.documents import Analysis, Documents
from lighter.editor.server.places import Span, token_at, unquoted

_REFERENCE = re.compile(r"(?P<head>%[^%\s]*?\.ya?ml::|[@%](?:::)*)(?P<steps>\w+(?:::\w+)*)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SPACE = "experiment::search::space"
_FREE = "vars"


class RefusedRenameError(Exception):
    """A path cannot be renamed wholly; the message says why."""


@dataclass(frozen=True)
class Occurrence:
    """A place that names a path: the range of the path's last step; `is_key` where the value stands there."""

    file: Path
    span: Span
    is_key: bool


def occurrences(documents: Documents, analysis: Analysis, path: str) -> list[Occurrence]:
    """Return all that names a path, in the order of the files."""
    found = [each for file in _files(documents, analysis) for each in _in_file(documents, file, path)]
    return sorted(set(found), key=lambda each: (str(each.file), each.span))


def rename(documents: Documents, analysis: Analysis, path: str, name: str) -> Mapping[Path, list[tuple[Span, str]]]:
    """Return the edits by which a path's last step gets another name, or raise a `RefusedRenameError`."""
    refuse_kinds(analysis, path)
    _refuse_name(analysis, path, name)
    edits: dict[Path, list[tuple[Span, str]]] = {}
    for each in occurrences(documents, analysis, path):
        edits.setdefault(each.file, []).append((each.span, name))
    _refuse_mentions(documents, analysis, path, edits)
    _refuse_changes(documents, analysis, path, name, edits)
    return edits


def refuse_kinds(analysis: Analysis, path: str) -> None:
    """Raise a `RefusedRenameError` for a path whose last step has its name from elsewhere."""
    above, _, last = path.rpartition(SEPARATOR)
    config = analysis.config
    if config is None or not analysis.is_readable:
        raise RefusedRenameError("the config cannot be read as it is now")
    holder = config.expanded.find(above)
    if not above or is_index(last) or last in SPECIAL or path.partition(SEPARATOR)[0] not in SECTIONS:
        what = "a section" if not above else "an index" if is_index(last) else "a special key"
        raise RefusedRenameError(f"`{last}` is {what}: its name is not the config's to choose")
    if holder is None or holder.child(last) is None:
        raise RefusedRenameError(f"there is no `{path}` in the config")
    if is_target(holder.value):
        raise RefusedRenameError(f"`{last}` is an argument of {holder.value['_target_'].value}, which has that name")
    here = schema_at.at(analysis.schema, above, targets_on_the_way(above, config.expanded))
    known = schema_at.keys(analysis.schema, here).get(last)
    is_read = known is not None and schema_at.description(analysis.schema, [known])
    if is_read or (path.partition(SEPARATOR)[0] != _FREE and above in SECTIONS):
        raise RefusedRenameError(f"`{path}` is read under that name")


def _refuse_name(analysis: Analysis, path: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RefusedRenameError(f"`{name}` is no name that can be referred to: letters, digits and `_`")
    above = path.rpartition(SEPARATOR)[0]
    holder = analysis.config.expanded.find(above) if analysis.config is not None else None
    if holder is not None and holder.child(name) is not None:
        raise RefusedRenameError(f"there is a `{join(above, name)}` already")


def _files(documents: Documents, analysis: Analysis) -> list[Path]:
    return [*dict.fromkeys(file for files in _configs(documents, analysis).values() for file in files)]


def _configs(documents: Documents, analysis: Analysis) -> dict[Path, list[Path]]:
    """Return the configs that share files with this one, with all files of each."""
    configs = {analysis.path: analysis.files}
    for other in documents.analyses.values():
        if not set(other.files).isdisjoint(analysis.files):
            configs[other.path] = other.files
    for file in analysis.files:
        for other_file in documents.built_on(file):
            configs.setdefault(other_file, documents.files_of(other_file))
    return configs


def _in_file(documents: Documents, file: Path, path: str) -> Iterator[Occurrence]:
    text, tree = documents.text(file), documents.tree(file)
    lines = text.splitlines()
    wanted = split(path)
    for here, node in tree.walk() if tree is not None else ():
        if node.key_origin is not None:
            token = token_at(lines, node.key_origin.line - 1, node.key_origin.column - 1)
            yield from _in_key(file, lines, token, here, wanted)
        if is_reference(node.value):
            position = (node.origin.line - 1, node.origin.column - 1)
            for match, index in _referring(written_path(here), node.value, wanted):
                position, span = _located(lines, position, match, index)
                if span is not None:
                    yield Occurrence(file, span, is_key=False)


def _in_key(file: Path, lines: list[str], token: Span, here: str, wanted: list[str]) -> Iterator[Occurrence]:
    """Yield the step of a key, which may be a path itself, that is the last of the path that is wanted."""
    written = lines[token.line][token.start : token.end] if token.line < len(lines) else ""
    bare = unquoted(written)
    steps = split(bare.lstrip("=~"))
    whole = split(_from_top(written_path(here)))
    above = whole[: len(whole) - len(steps)]
    number = len(wanted) - len(above) - 1
    if [*above, *steps][: len(wanted)] == wanted and 0 <= number < len(steps):
        before = SEPARATOR.join(steps[:number]) + SEPARATOR * (number > 0)
        start = token.start + written.find(bare) + len(bare) - len(bare.lstrip("=~")) + len(before)
        yield Occurrence(file, Span(token.line, start, start + len(steps[number])), is_key=number == len(steps) - 1)


def _from_top(path: str) -> str:
    """Return what a path stands for: those within a search space are paths from the top themselves."""
    return path.removeprefix(_SPACE + SEPARATOR) if path != _SPACE else ""


def _referring(path: str, value: str, wanted: list[str]) -> Iterator[tuple[re.Match[str], int]]:
    """Yield the references in a value, and the step of each as it is written that has the name; -1 for none of it."""
    for match in _REFERENCE.finditer(value):
        steps = split(match["steps"])
        is_external = match["head"].endswith("::") and "." in match["head"]
        try:
            whole = steps if is_external else split(from_top(path, match[0])[1:])
        except ValueError:  # it goes up beyond the top
            continue
        number = len(wanted) - 1 - (len(whole) - len(steps))
        # of a relative reference, the step may be one that is not written
        yield match, number if whole[: len(wanted)] == wanted and number >= 0 else -1


def _located(
    lines: Sequence[str], position: tuple[int, int], match: re.Match[str], index: int
) -> tuple[tuple[int, int], Span | None]:
    """Return the place after a reference, looked for from a place on, and the range of one of its steps."""
    line, column = position
    while line < len(lines):
        start = lines[line].find(match[0], column)
        if start >= 0:
            steps = split(match["steps"])
            before = start + len(match["head"]) + sum(len(step) + 2 for step in steps[:index])
            span = Span(line, before, before + len(steps[index])) if index >= 0 else None
            return (line, start + len(match[0])), span
        line, column = line + 1, 0
    return position, None


def edited(text: str, edits: Sequence[tuple[Span, str]]) -> str:
    """Return a text with some ranges replaced."""
    lines = text.split("\n")
    for span, new in sorted(edits, reverse=True):
        lines[span.line] = lines[span.line][: span.start] + new + lines[span.line][span.end :]
    return "\n".join(lines)


def _refuse_mentions(
    documents: Documents, analysis: Analysis, path: str, edits: Mapping[Path, list[tuple[Span, str]]]
) -> None:
    """Refuse a rename of what is named in a text that is no reference: the name of an experiment's objective, say."""
    mention = re.compile(rf"(?<![\w:]){re.escape(path)}(?!\w)")
    for file in _files(documents, analysis):
        for number, line in enumerate(documents.text(file).splitlines()):
            for match in mention.finditer(line.partition(" #")[0] if not line.lstrip().startswith("#") else ""):
                last = Span(number, match.end() - len(split(path)[-1]), match.end())
                if last not in [span for span, _ in edits.get(file, ())]:
                    raise RefusedRenameError(f"{file.name}:{number + 1} names `{path}`, and is no reference to it")


def _refuse_changes(
    documents: Documents, analysis: Analysis, path: str, name: str, edits: Mapping[Path, list[tuple[Span, str]]]
) -> None:
    """Try the edits on copies of the texts, and refuse them if any config says something else then."""
    after = replace_texts(documents, edits)
    for config_path in _configs(documents, analysis):
        before, problems = _examined(documents, config_path)
        changed, more = _examined(after, config_path)
        if before is None or changed is None:
            raise RefusedRenameError(f"{config_path.name} cannot be read" + " afterwards" * (before is not None))
        new = [each for each in more if each.message not in {old.message for old in problems}]
        if len(more) > len(problems):
            first = (new or more)[0]
            raise RefusedRenameError(f"{config_path.name} would be wrong: {first.path}: {first.message}")
        if changed.merged.plain() != _expected(before.merged, path, name):
            raise RefusedRenameError(f"in {config_path.name}, not all that names `{path}` can be found in the text")


def replace_texts(documents: Documents, edits: Mapping[Path, list[tuple[Span, str]]]) -> Documents:
    """Return documents in which some files have been edited."""
    after = Documents(documents.folders, documents.started_in, documents.safe)
    changed = {file: edited(documents.text(file), of_file) for file, of_file in edits.items()}
    after.texts = {**documents.texts, **changed}
    return after


def _examined(documents: Documents, path: Path) -> tuple[Config | None, list[Problem]]:
    with documents.as_seen_from(documents.root_of(path)):
        return examine([path], documents.safe)


def _expected(merged: Node, path: str, name: str) -> Any:
    """Return a merged config as it is when a path has another name."""
    wanted = split(path)

    def renamed(node: Node, here: str) -> Any:
        if isinstance(node.value, dict):
            above = _from_top(here)
            return {_key(above, str(key), key): renamed(child, join(here, key)) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [renamed(child, join(here, index)) for index, child in enumerate(node.value)]
        if not is_reference(node.value):
            return node.value
        text = node.value
        for match, number in reversed([*_referring(here, node.value, wanted)]):
            if number >= 0:
                steps = split(match["steps"])
                steps[number] = name
                text = f"{text[: match.start()]}{match['head']}{SEPARATOR.join(steps)}{text[match.end() :]}"
        return text

    def _key(above: str, written: str, key: Any) -> Any:
        steps = [*split(above), *split(written)]
        if len(steps) < len(wanted) or steps[: len(wanted)] != wanted or len(split(above)) >= len(wanted):
            return key
        steps[len(wanted) - 1] = name
        return SEPARATOR.join(steps[len(split(above)) :])

    return renamed(merged, "")
