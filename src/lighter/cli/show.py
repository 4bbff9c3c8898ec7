"""`lighter show`: the merged config as it will run. Nothing of it is imported or run."""

from __future__ import annotations

from pathlib import Path

import click

from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, inputs


@click.command(epilog=EPILOG)
@inputs
@click.option("--origins", is_flag=True, help="Beside each value, where it was written.")
@click.option("--resolve", is_flag=True, help="Work out references to values, and expressions that only compute.")
def show(inputs: tuple[str, ...], origins: bool, resolve: bool) -> None:
    """Print the merged config as it will run. INPUT: config files, and overrides (key::path=value)."""
    from lighter.config import Config, load_merged
    from lighter.config.dump import dump
    from lighter.config.pure import resolved
    from lighter.config.tree import Node, Origin, Source
    from lighter.engine.project import project_folder

    with mistakes_shown():
        merged = load_merged(inputs)
        folder = project_folder(Config(merged, merged), Path.cwd())
        # A marker file in the working directory counts as `project:`; from elsewhere the config runs with the same
        # folder.
        if folder is not None:
            written = merged.child("project")
            merged.value["project"] = Node(str(folder), written.origin if written else Origin(Source("__lighter__.py")))
        print(dump(resolved(merged) if resolve else merged, origins=origins), end="")
