"""The options of `--launch`, and what a command prints that has submitted a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.json_output import give, is_wanted
from lighter.cli.options import together

if TYPE_CHECKING:
    from lighter.engine.submit import Launch, Launched

OPTIONS = ("launch", "requeue", "dry_run")

with_launch = together(
    click.option(
        "--launch",
        type=click.Choice(("slurm",)),
        help="Submit this as a job and return; the section `launch` says what the job asks for.",
    ),
    click.option(
        "--requeue/--no_requeue",
        default=None,
        help="--launch: at the time limit, at a preemption and when a node fails, the job is requeued and resumes.",
    ),
    click.option("--dry_run", is_flag=True, help="--launch: print the script, and submit nothing."),
)


def launch_of(options: dict[str, Any], *, traceback: bool) -> Launch | None:
    """Take the options of `--launch` out of those of a command; None if it runs here.

    Raises:
        click.UsageError: there are others of them without `--launch`.
    """
    kind, requeue, dry_run = (options.pop(name) for name in OPTIONS)
    if kind is None:
        if requeue is not None or dry_run:
            given = "--dry_run" if dry_run else "--requeue" if requeue else "--no_requeue"
            raise click.UsageError(f"{given} is of a job: --launch slurm {given}", click.get_current_context())
        return None
    from lighter.engine.submit import Launch

    return Launch(requeue, dry_run, traceback)


def launch_and_show(submit: Callable[[], Launched], about: str = "run", *, traceback: bool = False) -> int:
    """Submit a job, say how to follow it, and return the exit code."""
    from lighter.cli.stage import exit_code

    return exit_code(lambda: _show(submit()), traceback=traceback, about=about)


def of_stage(stage: str, inputs: list[str], options: Mapping[str, Any], launch: Launch) -> int:
    """Launch a stage with the options of its command."""
    from lighter.cli.options import SAFE_MODE, safe_mode
    from lighter.engine.launch import launch_stage

    context = click.get_current_context()
    if safe_mode(options) is not None:
        raise click.UsageError("an untrusted config is not launched: run it here, without --launch", context)
    for name in ("resume", "return_predictions"):
        if options.get(name):
            raise click.UsageError(f"--{name} is of a prediction that runs here, without --launch", context)
    arguments = {
        key: value for key, value in options.items() if key not in (*SAFE_MODE, "resume", "return_predictions")
    }
    return launch_and_show(lambda: launch_stage(stage, inputs, launch, **arguments), traceback=launch.traceback)


def _show(launched: Launched) -> None:
    if is_wanted():
        log = None if launched.job is None else str(launched.log)
        facts = {"what": launched.what, "job": launched.job, "folder": str(launched.folder), "log": log}
        give("launch/1", {**facts, "script": launched.script})
        return
    if launched.job is None:
        click.echo(launched.script, nl=False)
        return
    shown = "lighter experiment status" if launched.what == "sweep" else "lighter runs show"
    click.echo(f"{launched.what} is job {launched.job} of SLURM, in {launched.folder}")
    click.echo(f"to follow: {shown} {launched.folder}")
    click.echo(f"           tail -F {launched.log}")
    click.echo(f"to cancel: scancel {launched.job}")
