"""The parts of a config's schema that describe one place, and what they say: keys, choices, texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lighter.config.tree import is_index, split

Schema = Mapping[str, Any]

_ANYWHERE = ("#/$defs/value", "#/$defs/definition", "#/$defs/deleted")  # they describe any place


def at(schema: Schema, path: str, targets: Mapping[str, str]) -> list[Schema]:
    """Return the schemas of a place, those of its section and of the targets on the way to it.

    Args:
        schema: of the whole config.
        path: the place.
        targets: the name of the target of each definition that holds the place, by its path.
    """
    here, steps, walked = [schema], split(path), ""
    for number, step in enumerate(steps):
        here = [child for each in here for child in _children(schema, each, step)]
        walked = "::".join(steps[: number + 1])
        own = schema.get("$defs", {}).get(targets.get(walked, ""))
        here += [own] if own is not None else []
    return here


def expanded(schema: Schema, here: list[Schema]) -> Iterator[Schema]:
    """Yield some schemas and all that they are put together from."""
    ahead, seen = list(here), set()
    while ahead:
        each = ahead.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        reference = each.get("$ref")
        if isinstance(reference, str) and reference not in _ANYWHERE:
            ahead.append(_referred(schema, reference))
        for keyword in ("allOf", "anyOf"):
            ahead += [part for part in each.get(keyword, ()) if isinstance(part, dict)]
        ahead += [each[keyword] for keyword in ("then", "else") if isinstance(each.get(keyword), dict)]


def keys(schema: Schema, here: list[Schema]) -> dict[str, Schema]:
    """Return the keys that a dict may have, with their schemas."""
    known: dict[str, Schema] = {}
    for each in expanded(schema, here):
        for key, child in each.get("properties", {}).items():
            if key not in known or not description(schema, [known[key]]):
                known[key] = child
    return known


def choices(schema: Schema, here: list[Schema]) -> list[Any]:
    """Return the values that are listed for a place; of a boolean, both."""
    listed: list[Any] = []
    for each in expanded(schema, here):
        listed += each.get("enum", ())
        kinds = each.get("type", ())
        listed += [True, False] if "boolean" in ([kinds] if isinstance(kinds, str) else kinds) else []
        listed += [False, True] if each.get("default") in (True, False) and type(each["default"]) is bool else []
    return [each for number, each in enumerate(listed) if not any(_same(each, other) for other in listed[:number])]


def description(schema: Schema, here: list[Schema]) -> str:
    """Return the text of a place; empty where it has none."""
    texts = [each["description"] for each in expanded(schema, here) if each.get("description")]
    return str(texts[-1]) if texts else ""


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _children(schema: Schema, here: Schema, step: str) -> Iterator[Schema]:
    for each in expanded(schema, [here]):
        child = each.get("properties", {}).get(step)
        if child is None and is_index(step):
            child = each.get("items")
        if isinstance(child, dict):
            yield child


def _referred(schema: Schema, reference: str) -> Schema:
    name = reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
    found = schema.get("$defs", {}).get(name, {})
    return found if isinstance(found, dict) else {}
