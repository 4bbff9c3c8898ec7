"""`lighter why`: where a value of the config comes from. Nothing of it is imported or run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, inputs

if TYPE_CHECKING:
    from lighter.config.history import Event

_WIDEST = 60


@click.command(epilog=EPILOG)
@click.argument("key", metavar="KEY")
@inputs
def why(key: str, inputs: tuple[str, ...]) -> None:
    """Tell where the value at KEY (a::b::0) comes from. INPUT: config files, and overrides (key::path=value)."""
    from lighter.config.history import history

    with mistakes_shown():
        # Copies may refer to each other in a circle.
        seen: set[str] = set()
        while key and key not in seen:
            seen.add(key)
            events, elsewhere = history(key, inputs)
            print("\n".join(_lines(key, events)))
            if elsewhere:
                print(f"  stands for {elsewhere}")
            key = elsewhere


def _lines(key: str, events: Sequence[Event]) -> Iterator[str]:
    from lighter.config.problems import shortened

    sources = [f"{e.origin}: {e.origin.source.text}" if e.origin.source.is_override else str(e.origin) for e in events]
    width = max(map(len, sources), default=0)
    yield key
    for source, event in zip(sources, events, strict=True):
        inner = f" {event.path[len(key) + 2 :]}" if event.path != key else ""
        value = f": {shortened(_text(event.value), _WIDEST)}" if event.change != "deleted" else ""
        yield f"  {source:<{width}}  {event.change}{inner}{value}"


def _text(value: object) -> str:
    from lighter.config import yaml

    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(child)}' for key, child in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return yaml.dump(value).removesuffix("\n").removesuffix("\n...")
