"""What the schema of a config marks in its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from lighter.config import examine, yaml
from lighter.config.problems import Problems
from lighter.config.tree import SEPARATOR, Source
from lighter.editor.schema import Made, make_schema
from lighter.engine.project import importable


class Mark(NamedTuple):
    file: str
    path: str
    message: str


def made(inputs: Sequence[str]) -> Made:
    config, problems = examine(inputs)
    assert config is not None, problems
    with importable(config, Path.cwd()):
        return make_schema(config, inputs)


def marks(made: Made, names: Sequence[str] | None = None) -> list[Mark]:
    """What the schema marks in the config's files, or in those with these names."""
    return [
        mark
        for name in (made.files if names is None else names)
        for mark in marks_in(made, Path(name).read_text(encoding="utf-8"), name)
    ]


def marks_in(made: Made, text: str, name: str = "") -> list[Mark]:
    """What it marks in a text, read by the rules of Lighter's YAML."""
    tree = yaml.parse(Source(name, text, is_file=True), Problems())
    data = with_texts_as_keys(tree.plain()) if tree is not None and tree.value is not None else {}
    errors = jsonschema.Draft202012Validator(made.schema).iter_errors(data)
    found = [Mark(name, SEPARATOR.join(map(str, error.absolute_path)), error.message) for error in errors]
    return list({mark.path: mark for mark in reversed(found)}.values())  # one for each place


def with_texts_as_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): with_texts_as_keys(item) for key, item in value.items()}
    return [with_texts_as_keys(item) for item in value] if isinstance(value, list) else value
