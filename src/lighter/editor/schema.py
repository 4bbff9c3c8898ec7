"""A config as the JSON schema of its files (draft 2020-12), exact for its targets.

    properties  the sections, nested as the config is: a dict that adds to a definition of another file has no
                `_target_`, and is checked by that of its place
    $defs       `value`: anything, in which each definition is checked by its `_target_`; a schema for each target

It says what the check says: targets are found as the check finds them, signatures are believed where it believes them,
and a value fits where it fits there. A file is one layer of a config, so nothing is required.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytorch_lightning import Trainer as LightningTrainer

from lighter.base import BaseModule
from lighter.config import Config
from lighter.config.check.calls import Targets
from lighter.config.check.sections import STAGES
from lighter.config.load import Input, steps
from lighter.config.problems import Problem, Problems
from lighter.config.signatures import signature_of
from lighter.config.tree import Node, is_target, join
from lighter.editor import MADE_BY
from lighter.editor.calls import VALUE, Target, arguments_of, definition_schema, dispatch, reference_to, with_operators
from lighter.editor.sections import (
    mode_schemas,
    scheduler_schema,
    section_schemas,
    special_schemas,
    split_schema,
    stage_schema,
    trainer_schemas,
)
from lighter.editor.values import Schema
from lighter.engine.check.context import Context, is_ours
from lighter.engine.check.walk import find_other_targets, find_targets
from lighter.system import System
from lighter.trainer import Trainer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TRAINER = "lighter.Trainer"
_DEFINING = ("model", "system", "data", "trainer", "vars")
_ARGUMENTS_OF_STAGES = ("self", "model", "datamodule")  # which the engine gives
_DELETED: Schema = {
    "description": "Deletes the key, or these items of it.",
    "type": ["null", "string", "array"],
    "pattern": "^$|^%",
    "items": {"type": ["string", "number", "boolean"]},
}
_NO_TARGET: Schema = {"not": {"anyOf": [{"required": ["_target_"]}, {"required": ["=_target_"]}]}}
_VALUE: Schema = {
    "if": {"type": "object", "required": ["_target_"]},
    "then": {"$ref": "#/$defs/definition"},
    "else": {"properties": {"_target_": {"$ref": "#/$defs/_target_"}}, "additionalProperties": VALUE, "items": VALUE},
}


@dataclass(frozen=True)
class Made:
    """The schema of a config.

    Attributes:
        problems: the targets that cannot be had, whose arguments may be anything.
        files: the names of all files of the config, in the order of merging.
    """

    schema: Schema
    problems: Sequence[Problem]
    files: list[str]


@dataclass
class _Layers:
    """The content of the layers of a config, one after the other.

    Attributes:
        named: the targets that each path has had.
        are_several: whether there is more than one layer.
    """

    named: dict[str, set[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    are_several: bool = False


def make_schema(config: Config, inputs: Sequence[Input]) -> Made:
    """Return the schema of a config that is read from these inputs.

    The targets are imported; in safe mode only those that it permits.
    """
    context = Context(config.expanded, config.module_section, "fit", constructs=False)
    found = Targets(context.problems, context.failures, config.safe)
    find_targets(context, found)
    find_other_targets(context, found, config.merged)
    layers = _read_layers(inputs, config)
    if "trainer" not in layers.named:  # whose target may be left out
        layers.named.setdefault(context.followed("trainer"), {_TRAINER})
    targets = _targets(context, layers.named)
    definitions = {name: definition_schema(name, each, is_layered=layers.are_several) for name, each in targets.items()}
    own = {"value": _VALUE, "definition": dispatch(targets), "deleted": _DELETED, **special_schemas()}
    schema = {
        "$schema": DIALECT,
        "$comment": MADE_BY,
        "type": "object",
        **_top(_sections(context, config, layers, targets)),
        "$defs": {**own, **dict(sorted(definitions.items()))},
    }
    return Made(schema, [*context.problems, *context.failures], layers.files)


def _sections(context: Context, config: Config, layers: _Layers, targets: Mapping[str, Target]) -> dict[str, Schema]:
    sections = section_schemas()
    places = _Places(layers.named, targets, _own_keys(context, layers.named))
    for key in _DEFINING:
        place = places.of(key, config.merged.child(key))
        sections[key]["allOf"] = [VALUE, *([place] if place else [])]
    sections["args"] |= _of_stages(context, is_layered=layers.are_several)
    return sections


def _read_layers(inputs: Sequence[Input], config: Config) -> _Layers:
    layers = _Layers()
    for number, step in enumerate(steps(inputs, Problems(), config.safe)):
        layers.are_several = number > 0
        source = step.tree.origin.source if step is not None and step.tree is not None else None
        layers.files += [source.name] if source is not None and source.is_file else []
        for path, node in step.root.walk() if step is not None else ():
            if is_target(node.value) and isinstance(node.value["_target_"].value, str):
                layers.named.setdefault(path, set()).add(node.value["_target_"].value)
    return layers


def _targets(context: Context, named: Mapping[str, set[str]]) -> dict[str, Target]:
    """Return what the names in the config stand for; those that cannot be had are left out."""
    written = set[str]().union(*named.values())
    split = context.plan.data if context.plan is not None and context.plan.data.for_split is not None else None
    targets: dict[str, Target] = {_TRAINER: Target(Trainer)} if _TRAINER in written else {}
    for path, called in context.targets.items():
        node = context.node(path)
        name = node.value["_target_"].value if is_target(node.value) else _TRAINER
        if name not in written:
            continue
        target = targets.setdefault(name, Target(called))
        target.filled |= {context.filled[path]} if path in context.filled else set()
        target.added |= {"split": split_schema()} if split is not None and split.path == path else {}
    for target in targets.values():
        if isinstance(target.called, type) and issubclass(target.called, LightningTrainer):
            target.filled.add("logger")  # whose names are replaced by definitions
            target.narrowed |= trainer_schemas()
    return targets


def _own_keys(context: Context, named: Mapping[str, set[str]]) -> dict[str, Schema]:
    """Return the schemas of dicts whose keys are Lighter's, by their paths."""
    own: dict[str, Schema] = {}
    kind, section = context.module, context.section
    if kind is not None and section == "system" and issubclass(kind, System) and is_ours(kind):
        own |= {join(section, key): schema for key, schema in mode_schemas().items()}
    if kind is not None and kind.configure_optimizers is BaseModule.configure_optimizers:
        own[join(section, "scheduler")] = scheduler_schema()
    if section == "system":
        only_split = {"split": split_schema()}
        own["data"] = {"properties": only_split, **with_operators(only_split), "additionalProperties": False}
    return {path: schema for path, schema in own.items() if path not in named}


def _of_stages(context: Context, *, is_layered: bool) -> Schema:
    stages: dict[str, Schema] = {}
    for stage in STAGES:
        method = getattr(context.kind("trainer") or Trainer, stage, None)
        signature = signature_of(method) if method is not None else None
        arguments: dict[str, Schema] = {}
        if signature is not None:
            arguments = arguments_of(signature, method, is_layered=is_layered, left_out=_ARGUMENTS_OF_STAGES)
        stages[stage] = stage_schema(stage, arguments)
    return {"properties": stages, **with_operators(stages), "additionalProperties": False}


def _top(sections: Mapping[str, Schema]) -> Schema:
    operators = with_operators([key for key in sections if key != "_base_"])
    only_anchors = {"^(x-|\\.)": {"description": "Ignored: it may hold YAML anchors."}}
    patterns = {**only_anchors, **operators["patternProperties"]}
    return {"properties": dict(sections), "patternProperties": patterns, "additionalProperties": False}


class _Places:
    """The schemas of the config's places, for dicts that say no target themselves."""

    def __init__(self, named: Mapping[str, set[str]], targets: Mapping[str, Target], own: Mapping[str, Schema]) -> None:
        self.named, self.targets, self.own = named, targets, own

    def of(self, path: str, node: Node | None) -> Schema:
        """Return the schema of a place and of those below it; empty if nothing is known of them."""
        below = {key: self.of(join(path, key), child) for key, child in self._children(path, node).items()}
        below = {key: schema for key, schema in below.items() if schema}
        places: Schema = {"properties": below} if below else {}
        names = self.named.get(path, set())
        # Where several files name several targets, a dict may be meant for any of them.
        if len(names) == 1 and names <= self.targets.keys():
            return {**places, "if": _NO_TARGET, "then": reference_to(*names)}
        return {**places, "if": _NO_TARGET, "then": self.own[path]} if path in self.own else places

    def _children(self, path: str, node: Node | None) -> dict[str, Node | None]:
        written = node.value if node is not None and isinstance(node.value, dict) else {}
        own = [other.removeprefix(f"{path}::") for other in self.own if other.startswith(f"{path}::")]
        return {**dict.fromkeys(own), **{str(key): child for key, child in written.items()}}
