"""JSON schemas (2020-12) of what commands print with `--json`, by name: `fit`, `runs.list`, ..., and `errors`.

They are written in `json_schemas.yaml`, where all properties of an object are required that `optional` does not name,
and `document: N` says that it is an object whose `schema` is `lighter.NAME/N`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

_FILE = Path(__file__).with_name("json_schemas.yaml")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = re.compile(r"'#/\$defs/(\w+)'")


def names() -> list[str]:
    return list(_read()["documents"])


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of a document, with all that it refers to.

    Raises:
        click.UsageError: there is none of this name.
    """
    from lighter.config.problems import nearest

    every, name = _read(), name.replace(" ", ".")
    if name not in every["documents"]:
        raise click.UsageError(f"`{name}` is no command that prints JSON. {nearest(name, every['documents'])}")
    document = every["documents"][name]
    version = document.pop("document", None)
    if version is not None:
        document["properties"] = {"schema": {"const": f"lighter.{name}/{version}"}, **document["properties"]}
    body = _completed(document)
    used = _used(body, {key: _completed(value) for key, value in every["definitions"].items()})
    return {"$schema": _DIALECT, "$id": f"urn:lighter:{name}:{version or 1}", **body, "$defs": used}


def _read() -> dict[str, Any]:
    import yaml

    # in C, where PyYAML was built with it: TAB waits for the names
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: dict[str, Any] = yaml.load(_FILE.read_text(encoding="utf-8"), loader)
    return content


def _completed(schema: Any) -> Any:
    """Return a schema with the type and the required keys of its objects."""
    if isinstance(schema, list):
        return [_completed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    optional = schema.get("optional", [])
    inner = {key: _completed(value) for key, value in schema.items() if key != "optional"}
    if not isinstance(schema.get("properties"), dict):
        return inner
    return {"type": "object", **inner, "required": [key for key in schema["properties"] if key not in optional]}


def _used(schema: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that a schema refers to, and those that these refer to."""
    used: dict[str, Any] = {}
    waiting = _REFERENCE.findall(str(schema))
    while waiting:
        name = waiting.pop()
        if name not in used:
            used[name] = definitions[name]
            waiting += _REFERENCE.findall(str(definitions[name]))
    return used
