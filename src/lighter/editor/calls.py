"""A target as the schema of its definitions: its arguments, as far as its signature can be believed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

from lighter.config.annotations import shown
from lighter.config.signatures import BY_NAME, BY_POSITION, Signature, signature_of
from lighter.config.tree import SPECIAL
from lighter.editor.docstrings import argument_texts, summary
from lighter.editor.values import Schema, argument_schema

VALUE: Schema = {"$ref": "#/$defs/value"}
"""Any value; what is defined in it is checked by its target."""
ANY: Schema = {"allOf": [VALUE]}
"""The same beside a text: not all editors read what stands beside a `$ref`."""
_DELETED: Schema = {"$ref": "#/$defs/deleted"}
# The check refuses these keys, whatever the target takes.
_OF_OTHER_TOOLS: Schema = {"^_(partial|recursive|convert)_$": False}
_DISABLED: Schema = {
    "required": ["_disabled_"],
    "properties": {
        "_disabled_": {"anyOf": [{"const": True}, {"pattern": "^\\s*[Tt][Rr][Uu][Ee]\\s*$", "type": "string"}]}
    },
}


@dataclass
class Target:
    """A target that a config names.

    Attributes:
        called: the class or function.
        filled: the arguments that the engine adds or replaces: a definition may have values of other kinds for them.
        added: keys that are no parameters, with their schemas: `split` of a data module.
        narrowed: further schemas of some arguments, whose annotations say less than the check knows.
    """

    called: Any
    filled: set[str] = field(default_factory=set)
    added: dict[str, Schema] = field(default_factory=dict)
    narrowed: dict[str, Schema] = field(default_factory=dict)


def reference_to(name: str) -> Schema:
    # In a JSON pointer, these two have another spelling.
    return {"$ref": f"#/$defs/{name.replace('~', '~0').replace('/', '~1')}"}


def definition_schema(name: str, target: Target, *, is_layered: bool) -> Schema:
    """Return the schema of a definition whose `_target_` has this name; nothing is required, as files are merged."""
    special = {key: {"$ref": f"#/$defs/{key}"} for key in SPECIAL}
    special["_target_"] = {"type": "string", "description": _paragraphs(name, summary(target.called))}
    signature = signature_of(target.called)
    if signature is None:
        return {"properties": special, "patternProperties": _OF_OTHER_TOOLS, "additionalProperties": VALUE}
    arguments = arguments_of(signature, target.called, is_layered=is_layered, filled=target.filled)
    for key in arguments.keys() & target.narrowed.keys():
        arguments[key]["allOf"] = [VALUE, target.narrowed[key]]
    if signature.is_exact and not is_layered:
        special["_args_"] = _positional(signature, reference_to(name)["$ref"])
    properties = {**special, **arguments, **target.added}
    patterns = {**_OF_OTHER_TOOLS, **with_operators(properties, name)["patternProperties"]}
    return {"properties": properties, "patternProperties": patterns, **_others(signature)}


def _positional(signature: Signature, here: str) -> Schema:
    """Return the schema of `_args_`: each value is that of the parameter at its position."""
    positional = [item for item in signature.parameters.values() if item.kind in BY_POSITION]
    is_open = any(item.kind is Parameter.VAR_POSITIONAL for item in signature.parameters.values())
    items = [
        {"$ref": f"{here}/properties/{item.name}"} if item.kind in BY_NAME else {**ANY, **argument_schema(item)}
        for item in positional
    ]
    # An item that is disabled has no position.
    all_count = {"type": "array", "not": {"contains": {"type": "object", "required": ["_disabled_"]}}}
    placed = {**({"prefixItems": items} if items else {}), **({} if is_open else {"maxItems": len(items)})}
    return {"allOf": [{"$ref": "#/$defs/_args_"}], "if": all_count, "then": placed}


def arguments_of(
    signature: Signature,
    called: object,
    *,
    is_layered: bool,
    filled: Collection[str] = (),
    left_out: Iterable[str] = (),
) -> dict[str, Schema]:
    """Return the schema of each argument that can be given by name."""
    texts = argument_texts(called)
    arguments = {}
    for name, item in signature.parameters.items():
        if item.kind in BY_NAME and name not in left_out:
            text = _paragraphs(_facts(item), texts.get(name, ""))
            is_typed = signature.is_exact and name not in filled
            item = item if is_typed else item.replace(annotation=Parameter.empty)
            about = {"description": text} if text else {}
            arguments[name] = {**about, **ANY, **argument_schema(item, is_layered=is_layered)}
    return arguments


def with_operators(keys: Collection[str], name: str = "") -> Schema:
    """Return the keys that change what is merged: `=key` replaces, `~key` deletes, `a::b` is a path."""
    listed = "|".join(map(re.escape, keys))
    here = reference_to(name)["$ref"]
    replaced = {f"^={key}$": {"$ref": f"{here}/properties/{key}"} if name else VALUE for key in keys}
    return {"patternProperties": {**replaced, "^~": _DELETED, f"^=?({listed})::": VALUE}}


def _others(signature: Signature) -> Schema:
    """Return what other arguments there may be."""
    is_open = any(item.kind is Parameter.VAR_KEYWORD for item in signature.parameters.values())
    return {"additionalProperties": VALUE if is_open or not signature.is_exact else False}


def _facts(item: Parameter) -> str:
    """Return the type and the default of an argument in a line."""
    kind = shown(item.annotation) if item.annotation is not Parameter.empty else ""
    if item.default is Parameter.empty:
        return f"{kind}, no default" if kind else "no default"
    default = "null" if item.default is None else repr(item.default)
    return f"{kind}, default {default}" if kind else f"default {default}"


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def dispatch(names: Iterable[str]) -> Schema:
    """Return the schema of any definition: by its `_target_`, if that is one of these."""
    known = sorted(names)
    conditions = [{"if": _calls(f"^{re.escape(name)}$"), "then": reference_to(name)} for name in known]
    special = {key: {"$ref": f"#/$defs/{key}"} for key in SPECIAL}
    others = {"properties": special, "additionalProperties": VALUE}
    is_known = _calls(f"^({'|'.join(map(re.escape, known))})$")
    # Editors offer these, and unlike an `enum` show them nowhere else.
    offered = {"_target_": {"defaultSnippets": [{"label": name, "body": name} for name in known]}}
    called = {"allOf": [*conditions, {"if": is_known, "else": others}]}
    return {"properties": offered, "if": _DISABLED, "then": {"properties": special}, "else": called}


def _calls(pattern: str) -> Schema:
    return {"properties": {"_target_": {"type": "string", "pattern": pattern}}}
