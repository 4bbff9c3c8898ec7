"""`lighter resume`: continue a fit in its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lighter.cli.options import in_folder, with_traceback

if TYPE_CHECKING:
    from lighter.engine.execution import Outcome

_RUN = "RUN is a path, an id, the beginning of one, a name, or `last`: the newest fit."


@click.command(epilog=_RUN)
@click.argument("run")
@click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")
@click.option(
    "--take",
    type=click.Choice(("all", "weights", "no-optimizer")),
    default="all",
    show_default=True,
    help="What to take: everything; the weights alone, in a new run; all but the optimizer and its schedule.",
)
@click.option("--no_weights_only", is_flag=True, help="Read checkpoints that hold objects too, which can run code.")
@with_traceback
@in_folder
def resume(run: str, overrides: tuple[str, ...], take: str, no_weights_only: bool, traceback: bool, root: Path) -> None:
    """Resume a fit that stopped: same folder, same curves, newest good checkpoint, the config as it was."""
    from lighter.cli.stage import run_and_show

    def execute() -> Outcome:
        from lighter.engine.runner import Runner
        from lighter.runs.resume.fit import resumed

        with resumed(run, root, overrides, take, weights_only=not no_weights_only) as (plan, inputs):
            return Runner().execute("fit", inputs, resume_plan=plan)

    raise SystemExit(run_and_show("fit", execute, traceback=traceback))
