"""`lighter show`: the merged config as it will run. Nothing of it is imported or run."""

from __future__ import annotations

from pathlib import Path

import click

from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, as_json, inputs


@click.command(epilog=EPILOG)
@inputs
@click.option("--origins", is_flag=True, help="Beside each value, where it was written.")
@click.option("--resolve", is_flag=True, help="Work out references to values, and expressions that only compute.")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="The config of a trial of its experiment.")
@as_json
def show(inputs: tuple[str, ...], origins: bool, resolve: bool, trial: int | None, as_json: bool) -> None:
    """Print the merged config as it will run. INPUT: config files, and overrides (key::path=value)."""
    from lighter.config import Config, load_merged
    from lighter.config.dump import dump
    from lighter.config.pure import resolved
    from lighter.config.tree import Node, Origin, Source
    from lighter.engine.project import project_folder

    with mistakes_shown():
        if trial is not None:
            from lighter.experiments.preview import words_of_trial

            inputs = (*inputs, *words_of_trial(inputs, trial))
        merged = load_merged(inputs)
        folder = project_folder(Config(merged, merged), Path.cwd())
        # A marker file in the working directory counts as `project:`; from elsewhere the config runs with the same
        # folder.
        if folder is not None:
            written = merged.child("project")
            merged.value["project"] = Node(str(folder), written.origin if written else Origin(Source("__lighter__.py")))
        tree = resolved(merged) if resolve else merged
        if as_json:
            places = {path: str(node.origin) for path, node in tree.walk() if path}
            give("show/1", {"config": tree.plain(), "text": dump(tree, origins=origins), "origins": places})
        else:
            print(dump(tree, origins=origins), end="")
