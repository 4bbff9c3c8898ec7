"""Groups of commands whose help lists each with its whole first sentence, under headings where there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_LONGEST = 300  # letters of a first sentence, which no line of a help is cut to


class Group(click.Group):
    """A group of commands.

    Attributes:
        headings: headings of its help, each with the names of commands; those that are in none come at the end.
    """

    def __init__(self, *args: Any, headings: Mapping[str, Sequence[str]] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.headings = headings or {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists of commands into the help."""
        named = {name for names in self.headings.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in named]
        # one width of the first column, so that the texts of all lists begin below each other
        width = max(map(len, self.commands), default=0)
        for heading, names in {**self.headings, "More" if named else "Commands": others}.items():
            known = [(name, self.commands[name]) for name in names if name in self.commands]
            rows = [(name.ljust(width), command.get_short_help_str(_LONGEST)) for name, command in known]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
