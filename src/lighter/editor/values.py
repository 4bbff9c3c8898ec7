"""A parameter's annotation as a JSON schema: the values that the check takes for it.

Which types of JSON an annotation takes, the check itself is asked, sample by sample (`fits`); choices, items and
entries are read from the annotation. What is worked out later is always taken: `@a::b`, `%a::b`, `$...`, an object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, Flag
from inspect import Parameter
from typing import Annotated, Any, get_args, get_origin

from lighter.config.annotations import LISTS, MAPPINGS, UNIONS, UNKNOWN, choices, fits, shown
from lighter.config.signatures import wrong_value

Schema = dict[str, Any]

LATE = "^[@%$]"
"""A text that stands for another value."""
# Numbers that YAML 1.2 reads as text, as editors do: `1_000` and `0b11`, but not a quoted "1e-8".
NUMBER = "^(?=.*_|[-+]?0b)[-+]?(0[box][0-9a-fA-F_]+|[0-9][0-9_]*\\.?[0-9_]*([eE][-+]?[0-9]+)?|\\.[0-9_]+)$"
_OF_JSON = ("number", "integer", "string", "array", "object", "boolean", "null")
_SAMPLES: Mapping[str, Any] = dict(zip(_OF_JSON, (1.5, 7, "a text", [], {}, True, None), strict=True))


def argument_schema(item: Parameter, *, is_layered: bool = False) -> Schema:
    """Return the schema of an argument's values.

    Args:
        item: the parameter, its annotation worked out.
        is_layered: whether the config has several files, one of which may hold a part of the value.
    """
    schema = schema_of(item.annotation, lambda value: wrong_value(item, value) is None, is_layered=is_layered)
    for branch in schema.get("anyOf", [schema] if schema else []):
        branch["errorMessage"] = f"`{item.name}` is {shown(item.annotation)}"
    default = item.default.name if isinstance(item.default, Enum) else item.default
    if default is not Parameter.empty and is_plain(default):
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def schema_of(annotation: Any, takes: Callable[[Any], bool], *, is_layered: bool = False) -> Schema:
    """Return the schema of the values that `takes` takes; empty if it takes any."""
    options = list(_options(annotation))
    fixed = [[UNKNOWN] * len(get_args(option)) for option in options if _is_fixed(option)]
    types = [name for name, sample in _SAMPLES.items() if takes(sample)]
    types += ["array"] if "array" not in types and any(map(takes, fixed)) else []
    if set(types) == set(_SAMPLES) or annotation is inspect.Parameter.empty:
        return {}
    listed = [choice for option in options for choice in choices(option) if is_plain(choice)]
    spellings = [spelling for option in options for spelling in _spellings(option)]
    schema = _of_types(types, spellings, options, is_layered=is_layered)
    # A choice that is text is listed, so that editors offer it.
    return {"anyOf": [{"enum": [*dict.fromkeys(listed)]}, schema]} if listed else schema


def is_plain(value: object) -> bool:
    """Return whether JSON can write a value."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    is_number = type(value) is int or (type(value) is float and abs(value) < float("inf"))
    return value is None or type(value) in (bool, str) or is_number


def _of_types(types: list[str], spellings: Sequence[str], options: Sequence[Any], *, is_layered: bool) -> Schema:
    numbers = "number" in types or "integer" in types
    schema: Schema = {}
    if "array" in types:
        schema |= _of_lists(options, is_layered=is_layered)
    if "object" in types:
        schema |= _of_dicts(options, is_layered=is_layered)
    elif not is_layered:
        schema["required"] = ["_target_"]
    if "string" not in types:
        schema["pattern"] = "|".join([LATE, *([NUMBER] if numbers else []), *spellings])
    if bool in options and not numbers:
        types, schema = [*types, "integer"], {**schema, "minimum": 0, "maximum": 1}
    # In another file there may be the rest of a dict, or the value that is null here.
    every = {*types, "string", "object", *(["null"] if is_layered else [])}
    first = ["boolean"] if bool in options else []
    ordered = [name for name in dict.fromkeys([*first, *_SAMPLES]) if name in every]
    return {"type": [name for name in ordered if name != "integer" or "number" not in every], **schema}


def _of_lists(options: Sequence[Any], *, is_layered: bool) -> Schema:
    """Return what the items of a list are; any, if an option takes any list."""
    lists = [option for option in options if fits([], option) or _is_fixed(option)]
    if not all(get_origin(option) in LISTS and get_args(option) for option in lists):
        return {}
    several = [[*get_args(option)][: None if _is_fixed(option) else 1] for option in lists]
    schemas = [[_item(each, is_layered=is_layered) for each in args] for args in several]
    if len(lists) == 1 and _is_fixed(lists[0]) and not is_layered:
        return {"prefixItems": schemas[0], "minItems": len(schemas[0]), "maxItems": len(schemas[0])}
    return _all_of("items", [each for args in schemas for each in args])


def _of_dicts(options: Sequence[Any], *, is_layered: bool) -> Schema:
    """Return what the values of a dict are; any, if an option takes any dict."""
    dicts = [option for option in options if fits({}, option)]
    if not dicts or not all(get_origin(option) in MAPPINGS and len(get_args(option)) == 2 for option in dicts):
        return {}
    entries = _all_of("additionalProperties", [_item(get_args(each)[1], is_layered=is_layered) for each in dicts])
    # An object has arguments, and a key may be an operator or a path.
    free = {"patternProperties": {"^~|::": {}}, **entries}
    return {"if": {"required": ["_target_"]}, "else": free} if entries else {}


def _all_of(keyword: str, schemas: list[Schema]) -> Schema:
    if not all(schemas):
        return {}
    different = [each for number, each in enumerate(schemas) if each not in schemas[:number]]
    return {keyword: different[0] if len(different) == 1 else {"anyOf": different}}


def _item(annotation: Any, *, is_layered: bool) -> Schema:
    return schema_of(annotation, lambda value: fits(value, annotation), is_layered=is_layered)


def _options(annotation: Any) -> Iterator[Any]:
    """Yield what a union takes one of, and any other annotation itself."""
    origin, args = get_origin(annotation), get_args(annotation)
    inner = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if origin in UNIONS:
        for option in args:
            yield from _options(option)
    elif origin is Annotated:
        yield from _options(args[0])
    elif inner is not None and not isinstance(annotation, type):
        yield from _options(inner)
    else:
        yield annotation


def _is_fixed(option: Any) -> bool:
    """Return whether it is a tuple of so many items."""
    args = get_args(option)
    return get_origin(option) is tuple and bool(args) and args[1:] != (Ellipsis,)


def _spellings(option: Any) -> Iterator[str]:
    """Yield a pattern for each member of an enum: its name or value, without regard to case and signs."""
    if not isinstance(option, type) or not issubclass(option, Enum) or issubclass(option, Flag):
        return
    words = (*option.__members__, *(str(member.value) for member in option))
    for bare in dict.fromkeys("".join(filter(str.isalnum, word)).lower() for word in words):
        letters = (f"[{letter}{letter.upper()}]" if len(letter.upper()) == 1 else letter for letter in bare)
        yield f"^[^a-zA-Z0-9]*{'[^a-zA-Z0-9]*'.join(letters)}[^a-zA-Z0-9]*$"
