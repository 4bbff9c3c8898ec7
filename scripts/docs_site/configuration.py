"""The reference of all keys of a config, made from the sections and the classes that a config names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from importlib import import_module
from inspect import Parameter
from typing import Any, get_type_hints

from griffe import Docstring, DocstringSectionKind

from lighter import LighterModule, Trainer
from lighter.adapters import CriterionAdapter, MetricsAdapter
from lighter.base import BaseModule
from lighter.callbacks import EvaluationReport
from lighter.callbacks import __all__ as callbacks
from lighter.callbacks.evaluation.settings import ReportSettings
from lighter.config.annotations import shown
from lighter.config.check.sections import STAGES
from lighter.config.signatures import BY_NAME, signature_of
from lighter.editor.docstrings import argument_texts, summary
from lighter.editor.sections import (
    SECTION_TEXTS,
    keys_schema,
    mode_schemas,
    scheduler_schema,
    section_schemas,
    special_schemas,
    split_schema,
    trainer_schemas,
)
from lighter.editor.values import Schema
from lighter.experiments.executors.settings import LocalSettings, RaySettings, SlurmSettings
from lighter.experiments.schedule_section import MIN_TRIALS, REDUCTION
from lighter.parts.optimization.warmup import Warmup
from lighter.splits.settings import SplitSettings

_BEGIN = """# Keys of a config

Every key that Lighter reads, with its type, its default and its meaning. This page is made from the code; the language
itself is described in [Configuration](02-configuration.md). `lighter check` knows the same, and `lighter schema` writes
it for editors: also for your own classes and those of torch, which a page cannot list.

In every place, a value may be a reference (`@path`, `%path`) or an expression (`$...`), unless its text says otherwise.
"""
_SETTINGS = {"report": ReportSettings, "data::split": SplitSettings}
_JSON = {"object": "dict", "array": "list", "integer": "int", "boolean": "bool", "string": "str", "number": "float"}
_CLASSES = ("lighter.System", "lighter.ForwardModule", "lighter.LighterModule", "lighter.LighterDataModule")
_ADAPTERS = ("BatchAdapter", "CriterionAdapter", "MetricsAdapter", "LoggingAdapter")
_NO_TARGETS = ("BaseWriter", "writer_registry")  # a base class, and what scripts call
_SCHEDULE: dict[str, Schema] = {
    "kind": {"description": "`none`, `asha`, `hyperband` or `median`."},
    "by": {"description": "The limit of a fit that rungs count: `trainer::max_epochs`, `max_steps` or `max_time`."},
    "rungs": {"description": "Where members pause, and are compared."},
    "min": {"description": "The first rung, in place of `rungs`."},
    "reduction": {"description": "The best of so many go on at each rung.", "default": REDUCTION},
    "min_trials": {"description": "median: nothing is stopped before so many reached a rung.", "default": MIN_TRIALS},
}


def page() -> str:
    """Return the page: sections, keys of definitions, then classes."""
    return "\n".join([_BEGIN, *_sections(), *_parts_of_sections(), *_classes()])


def _sections() -> Iterator[str]:
    yield "## Sections\n"
    for key, schema in section_schemas().items():
        yield f"### `{key}`\n\n{SECTION_TEXTS[key]}{_facts(_kind(schema), schema.get('default', MISSING))}\n"
        yield _keys(schema.get("properties", {}), _SETTINGS.get(key))
        if key == "args":
            for stage in STAGES:
                left_out = {"self", "model", "datamodule"}
                yield f"#### `args::{stage}`\n\n{_arguments(getattr(Trainer, stage), left_out)}"


def _parts_of_sections() -> Iterator[str]:
    yield "## Keys within sections\n"
    yield f"### Keys of a definition\n\n{_keys(special_schemas())}"
    yield f"### `data::split`\n\n{_keys(split_schema()['properties'], SplitSettings)}"
    scheduler = scheduler_schema()["properties"]
    yield f"### `scheduler`\n\nOf `model` or `system`: a definition, or a dict of these.\n\n{_keys(scheduler)}"
    yield f"### `scheduler::warmup`\n\n{_arguments(Warmup, {'self', 'optimizer'})}"
    for key, schema in mode_schemas().items():
        modes = schema["then"]["properties"]
        inside = modes["train"].get("then", {}).get("properties", {})
        yield f"### `system::{key}`\n\nBy mode: {', '.join(f'`{mode}`' for mode in modes)}.\n\n{_keys(inside)}"
    yield f"### `experiment::search::schedule`\n\n{_keys(keys_schema(_SCHEDULE, {}, _SCHEDULE)['properties'])}"
    for kind in (LocalSettings, SlurmSettings, RaySettings):
        text = (kind.__doc__ or "").splitlines()[0]
        yield f"### `experiment::executor`, kind `{kind.kind}`\n\n{text}\n\n{_fields(kind)}"


def _classes() -> Iterator[str]:
    yield "## Classes\n"
    yield "The arguments of Lighter's own classes, by which a `_target_` configures them.\n"
    names = [*_CLASSES, "lighter.Trainer", *(f"lighter.adapters.{name}" for name in _ADAPTERS)]
    names += [f"lighter.callbacks.{name}" for name in callbacks if name not in _NO_TARGETS]
    for name in names:
        module, _, attribute = name.rpartition(".")
        target = getattr(import_module(module), attribute)
        narrowed = trainer_schemas() if target is Trainer else {}
        yield f"### {name}\n\n{summary(target)}\n\n{_arguments(target, {'self'}, narrowed)}"


def _keys(properties: Mapping[str, Schema], settings: type | None = None, before: str = "") -> str:
    """Return a list of keys; those of a dict of ours follow it, by their paths."""
    defaults = {item.name: item for item in fields(settings)} if settings is not None else {}
    lines = []
    for key, schema in properties.items():
        path = f"{before}{key}"
        kind, default = _kind(schema), schema.get("default", MISSING)
        if key in defaults:
            kind, default = kind or _annotation(settings, key), defaults[key].default
        lines.append(_line(path, kind, default, schema.get("description", "")))
        lines.append(_keys(schema.get("properties", {}), before=f"{path}::"))
    return "\n".join(filter(None, lines)) + "\n" if lines else ""


def _arguments(called: Any, left_out: Collection[str], narrowed: Mapping[str, Schema] | None = None) -> str:
    signature = signature_of(called)
    texts = {**_texts_elsewhere(called), **argument_texts(called)}
    lines = []
    for name, item in signature.parameters.items() if signature is not None else ():
        if item.kind in BY_NAME and name not in left_out:
            kind = f"`{shown(item.annotation)}`" if item.annotation is not Parameter.empty else ""
            kind = _kind((narrowed or {}).get(name, {})) or kind
            default = MISSING if item.default is Parameter.empty else item.default
            lines.append(_line(name, kind, default, texts.get(name, ""), is_required=default is MISSING))
    return "\n".join(lines) + "\n"


def _texts_elsewhere(called: object) -> dict[str, str]:
    """Return the texts of arguments that the docstring of another class explains."""
    if isinstance(called, type) and issubclass(called, BaseModule):
        return argument_texts(LighterModule)
    if called is EvaluationReport:
        properties = section_schemas()["report"]["properties"]
        return {key: schema["description"] for key, schema in properties.items()}
    return argument_texts(CriterionAdapter) if called is MetricsAdapter else {}


def _fields(kind: type) -> str:
    texts = _attribute_texts(kind)
    lines = (_line(item.name, _described(item), _default(item), texts.get(item.name, "")) for item in fields(kind))
    return "\n".join(lines) + "\n"


def _attribute_texts(kind: type) -> dict[str, str]:
    sections = Docstring(kind.__doc__ or "").parse("google", warnings=False)
    found = [section.value for section in sections if section.kind is DocstringSectionKind.attributes]
    return {item.name: " ".join(item.description.split()) for section in found for item in section}


def _described(item: Field) -> str:
    kind = item.metadata.get("kind")
    return kind.description if kind is not None else ""


def _default(item: Field) -> Any:
    return {} if item.default is MISSING else item.default


def _annotation(kind: type | None, name: str) -> str:
    return f"`{shown(get_type_hints(kind)[name])}`" if kind is not None else ""


def _kind(schema: Schema) -> str:
    """Return the type of a value in words, as its schema has it; a text that is only a reference is left out."""
    choices = [value for each in schema.get("anyOf", ()) for value in each.get("enum", ())]
    if choices:
        return " or ".join(f"`{value}`" for value in choices)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else [*kinds]
    if len(kinds) > 1 and "pattern" in schema:
        kinds = [kind for kind in kinds if kind != "string"]
    return f"`{' or '.join(_JSON.get(kind, kind) for kind in kinds)}`" if kinds else ""


def _line(path: str, kind: str, default: Any, text: str, *, is_required: bool = False) -> str:
    facts = _facts(kind, default, is_required=is_required)
    return f"- **`{path}`**{facts}" + (f"<br>{_escaped(text)}" if text else "")


def _facts(kind: str, default: Any, *, is_required: bool = False) -> str:
    facts = [kind] if kind else []
    if default is not MISSING:
        facts.append(f"default `{as_yaml(default)}`")
    elif is_required:
        facts.append("required")
    return f" ({', '.join(facts)})" if facts else ""


def as_yaml(value: object) -> str:
    """Return a default as a config would say it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str).strip('"')


def _escaped(text: str) -> str:
    # `<name>` in a docstring is no tag
    return text.replace("<", "&lt;").replace("*", "\\*") if "`" not in text else text
