"""`lighter why`: where a value of the config comes from. Nothing of it is imported or run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lighter.config import yaml
from lighter.config.history import Event, history
from lighter.config.problems import shortened
from lighter.errors import ConfigError

_WIDEST = 60


def run_why(key: str, inputs: Sequence[str]) -> int:
    """Print the history of a value, and of what it stands for; returns the exit code."""
    try:
        seen: set[str] = set()
        while key and key not in seen:
            seen.add(key)
            events, elsewhere = history(key, inputs)
            print("\n".join(_lines(key, events)))
            if elsewhere:
                print(f"  stands for {elsewhere}")
            key = elsewhere
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _lines(key: str, events: Sequence[Event]) -> list[str]:
    rows = [(_place(event), _what(key, event)) for event in events]
    width = max((len(place) for place, _ in rows), default=0)
    return [key, *(f"  {place:<{width}}  {what}" for place, what in rows)]


def _place(event: Event) -> str:
    origin = event.origin
    return f"{origin}: {origin.source.text}" if origin.source.is_override else str(origin)


def _what(key: str, event: Event) -> str:
    inner = event.path[len(key) + 2 :] if event.path != key else ""
    value = f": {shortened(_text(event.value), _WIDEST)}" if event.change != "deleted" else ""
    return f"{event.change}{f' {inner}' if inner else ''}{value}"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(child)}' for key, child in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return yaml.dump(value).removesuffix("\n").removesuffix("\n...")
