"""`lighter why`: where a value of the config comes from. Nothing of it is imported or run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lighter.cli.completion import of_key
from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, as_json, inputs

if TYPE_CHECKING:
    from lighter.config.history import Event


@click.command(epilog=EPILOG)
@click.argument("key", metavar="KEY", shell_complete=of_key)
@inputs
@as_json
def why(key: str, inputs: tuple[str, ...], as_json: bool) -> None:
    """Tell where the value at KEY (a::b::0) comes from. INPUT: config files, and overrides (key::path=value)."""
    from lighter.config.history import as_lines, history

    chain: list[dict[str, Any]] = []
    with mistakes_shown():
        # Copies may refer to each other in a circle.
        seen: set[str] = set()
        while key and key not in seen:
            seen.add(key)
            events, elsewhere = history(key, inputs)
            chain.append({"path": key, "events": [*map(_as_data, events)], "stands_for": elsewhere or None})
            if not as_json:
                print("\n".join(as_lines(key, events)))
            if elsewhere and not as_json:
                print(f"  stands for {elsewhere}")
            key = elsewhere
    if as_json:
        give("why/1", {"chain": chain})


def _as_data(event: Event) -> dict[str, Any]:
    origin = event.origin
    return {
        "change": event.change,
        "path": event.path,
        "value": event.value,
        "file": origin.source.name if origin.source.is_file else None,
        "line": origin.line if origin.source.is_file else None,
        "column": origin.column if origin.source.text else None,
        "word": origin.source.text if origin.source.is_override else None,
    }
