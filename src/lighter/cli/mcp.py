"""`lighter mcp`: the commands as tools for agents, over stdio."""

from __future__ import annotations

from pathlib import Path

import click

from lighter.cli.messages import mistakes_shown
from lighter.errors import LighterError


@click.command()
@click.option(
    "--root",
    default=".",
    show_default=True,
    metavar="FOLDER",
    help="Where commands run. No path outside of it is taken.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--max_runs", type=click.IntRange(min=1), metavar="N", help="At most so many fits, all servers together.")
@click.option(
    "--max_hours", type=click.FloatRange(0, min_open=True), metavar="H", help="At most so many hours of training."
)
@click.option("--safe", is_flag=True, help="Run configs as untrusted ones. There is no `try` then.")
def mcp(root: Path, max_runs: int | None, max_hours: float | None, safe: bool) -> None:
    """Serve check, show, fit, status, compare, try and more to agents.

    It speaks the Model Context Protocol over stdin and stdout. Nothing is trained without both --max_runs and
    --max_hours. What was used is kept in FOLDER/.lighter-mcp.

    \b
      lighter mcp --max_runs 50 --max_hours 8
    """
    with mistakes_shown():
        try:
            from lighter.agents.budget import Budget
            from lighter.agents.server import Tools, make_server
        except ImportError as error:
            raise LighterError("`lighter mcp` needs the package mcp: pip install 'lighter[agents]'") from error
        root = root.resolve()
        server = make_server(Tools(root, Budget(root, max_runs, max_hours), safe))
    server.run("stdio")
