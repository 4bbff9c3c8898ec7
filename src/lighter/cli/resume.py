"""`lighter resume` and `lighter reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lighter.cli.failures import with_traceback
from lighter.cli.runs import in_folder

if TYPE_CHECKING:
    from lighter.runs.read import Run

_RUN = "RUN is a path, an id, the beginning of one, a name, or `last`: the newest fit."


@click.command(epilog=_RUN)
@click.argument("run")
@click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")
@click.option(
    "--take",
    type=click.Choice(("all", "weights", "no-optimizer")),
    default="all",
    show_default=True,
    help="What to go on with: everything; the weights alone, in a new run; all but the optimizer and its schedule.",
)
@click.option("--no_weights_only", is_flag=True, help="Read checkpoints that hold objects too, which can run code.")
@with_traceback
@in_folder
def resume(run: str, overrides: tuple[str, ...], take: str, no_weights_only: bool, traceback: bool, root: Path) -> None:
    """Go on with a fit that stopped: same folder, same curves, newest good checkpoint, the config as it was."""
    from lighter.cli.stage import run_and_show

    def go_on() -> object:
        from lighter.engine.runner import Runner
        from lighter.runs.resume.fit import resumed

        with resumed(run, root, overrides, take, weights_only=not no_weights_only) as (found, inputs):
            return Runner().execute("fit", inputs, going_on=found)

    raise SystemExit(run_and_show("fit", go_on, traceback=traceback))


@click.command(epilog="RUN is a path, an id, the beginning of one, a name, or `last`.")
@click.argument("run")
@click.argument("secrets", nargs=-1, metavar="[PATH=SECRET]...")
@click.option("--no_weights_only", is_flag=True, help="Read a checkpoint that holds objects too, which can run code.")
@click.option("--verify", type=click.IntRange(1), metavar="N", help="Compare the first N steps' losses, bit for bit.")
@with_traceback
@in_folder
def reproduce(
    run: str, secrets: tuple[str, ...], no_weights_only: bool, verify: int | None, traceback: bool, root: Path
) -> None:
    """Run a run again, in a new folder: with its config, its code, its checkpoint; say what differs from then."""
    from lighter.cli.messages import mistakes_shown
    from lighter.cli.run_tables import print_differences, say
    from lighter.runs.read import read_run, trusted
    from lighter.runs.reproduce import rerun as again
    from lighter.runs.select import find_run

    verdicts: list[str] = []

    def look(new: Run) -> None:
        verdict = again.compare_losses(found, new.folder, verify) if verify and not verdicts else None
        if verdict is not None:
            verdicts.append(verdict)
            say(verdict or f"the first {verify} losses are the same, bit for bit")

    with mistakes_shown():
        found = trusted(read_run(find_run(run, root).path))
        if verify:
            again.losses_of(found, verify)
        say(f"{found.id}, again")
        with again.code_of(found, root, say) as (cwd, checkout):
            command = again.command_of(found, root, checkout, secrets, weights_only=not no_weights_only)
            command += ["--traceback"] if traceback else []
            changed = again.differences_now(found)
            if changed:
                print_differences(changed, "then", "now")
            else:
                say("environment: the same packages and hardware")
            code, new = again.run_again(found, root, command, cwd, checkout, look)
    if new is None:
        raise SystemExit(code or 1)
    look(new)
    changed = again.outcome(found, new)
    if changed:
        print_differences(changed, "then", "now")
    else:
        say("data and results: the same")
    say(f"run         {new.folder.path}")
    if verify and not verdicts:
        say(f"fewer than {verify} steps were taken, so their losses cannot be compared")
    raise SystemExit(code or int(bool(verify) and verdicts != [""]))
