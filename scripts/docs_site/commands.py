"""The page of all commands, made from click's."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lighter.cli import cli

_WIDTH = 100


def page() -> str:
    """Return the page: the text of `--help` of each command, as a terminal of 100 columns shows it."""
    begin = "# Commands\n\nThe text of `lighter COMMAND --help`. Options may be written with `-` in place of `_`.\n"
    context = click.Context(cli, info_name="lighter", terminal_width=_WIDTH, max_content_width=_WIDTH)
    return "\n".join([begin, *_commands(context, cli)])


def _commands(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f"{'##' if context.parent is None else '###'} {context.command_path}\n"
    yield f"```text\n{command.get_help(context).rstrip()}\n```\n"
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        sub = command.get_command(context, name)
        if sub is not None and not sub.hidden:
            inner = click.Context(sub, info_name=name, parent=context, terminal_width=_WIDTH, max_content_width=_WIDTH)
            yield from _commands(inner, sub)
