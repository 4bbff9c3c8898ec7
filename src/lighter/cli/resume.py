"""`lighter resume`: continue a fit in its own folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.completion import of_runs
from lighter.cli.launch import launch_and_show, launch_of, with_launch
from lighter.cli.options import as_json, in_folder, with_traceback

if TYPE_CHECKING:
    from lighter.engine.execution import Outcome
    from lighter.engine.runner import Runner

_RUN = "RUN is a path, an id, the beginning of one, a name, or `last`: the newest fit."


@click.command(epilog=_RUN)
@click.argument("run", shell_complete=of_runs)
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
@as_json
@with_launch
def resume(run: str, overrides: tuple[str, ...], take: str, root: Path, **options: Any) -> None:
    """Resume a fit that stopped: same folder, same curves, newest good checkpoint, the config as it was."""
    from lighter.cli.stage import run_and_show

    weights_only, traceback = not options["no_weights_only"], options["traceback"]
    job = launch_of(options, traceback=traceback)
    if job is not None:
        from lighter.engine.launch import launch_resume

        submit = partial(launch_resume, run, root, overrides, take, job, weights_only=weights_only)
        raise SystemExit(launch_and_show(submit, traceback=traceback))

    def execute(runner: Runner) -> Outcome:
        from lighter.runs.resume.fit import resumed

        with resumed(run, root, overrides, take, weights_only=weights_only) as (plan, inputs):
            return runner.execute("fit", inputs, resume_plan=plan)

    raise SystemExit(run_and_show("fit", execute, traceback=traceback, command="resume"))
