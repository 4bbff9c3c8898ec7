"""Write plain data as YAML in one line."""

from __future__ import annotations

import math
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NO_TEXT = ("null", "true", "false")


def as_yaml(value: Any) -> str:
    """Return plain data as YAML in one line, which is read back as the same data."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXT:
        return text
    letters = (letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)
    return '"' + "".join(f"\\{letter}" if letter in ('"', "\\") else letter for letter in letters) + '"'
