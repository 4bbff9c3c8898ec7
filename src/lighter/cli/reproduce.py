"""`lighter reproduce`: repeat a run in a new folder, and say what differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lighter.cli.completion import of_runs
from lighter.cli.json_errors import REPEATED, entry
from lighter.cli.json_output import give, note_all
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, in_folder, with_traceback

if TYPE_CHECKING:
    from lighter.runs.read import Run


@click.command(epilog="RUN is a path, an id, the beginning of one, a name, or `last`.")
@click.argument("run", shell_complete=of_runs)
@click.argument("secrets", nargs=-1, metavar="[PATH=SECRET]...")
@click.option("--no_weights_only", is_flag=True, help="Read a checkpoint that holds objects too, which can run code.")
@click.option("--verify", type=click.IntRange(1), metavar="N", help="Compare the first N steps' losses, bit for bit.")
@with_traceback
@in_folder
@as_json
def reproduce(run: str, secrets: tuple[str, ...], verify: int | None, root: Path, **options: bool) -> None:
    """Run a run again, in a new folder: with its config, its code, its checkpoint; say what differs from then."""
    from lighter.cli.run_document import run_data
    from lighter.cli.run_tables import print_differences, say
    from lighter.runs.read import read_run, trusted
    from lighter.runs.reproduce import rerun
    from lighter.runs.select import find_run

    verdicts: list[str] = []

    def compare(repeated: Run) -> None:
        verdict = rerun.compare_losses(recorded, repeated.folder, verify) if verify and not verdicts else None
        if verdict is not None:
            verdicts.append(verdict)
            say(verdict or f"the first {verify} losses are the same, bit for bit")

    with mistakes_shown():
        recorded = trusted(read_run(find_run(run, root).path))
        if verify:
            # Fails now where there are too few losses to compare, and not after the run.
            rerun.losses_of(recorded, verify)
        say(f"{recorded.id}, again")
        with rerun.code_of(recorded, root, say) as (cwd, checkout):
            command = rerun.command_of(recorded, root, checkout, secrets, weights_only=not options["no_weights_only"])
            command += ["--traceback"] if options["traceback"] else []
            environment = rerun.differences_now(recorded)
            if environment:
                print_differences(environment, "then", "now")
            else:
                say("environment: the same packages and hardware")
            code, repeated = rerun.run_again(recorded, root, command, cwd, checkout, compare)
    if repeated is None:
        note_all([entry(REPEATED, f"{recorded.id} was run again and ended with exit code {code}, without a run")])
        raise SystemExit(code or 1)
    compare(repeated)
    changed = rerun.outcome(recorded, repeated)
    if changed:
        print_differences(changed, "then", "now")
    else:
        say("data and results: the same")
    say(f"run         {repeated.folder.path}")
    if verify and not verdicts:
        say(f"fewer than {verify} steps were taken, so their losses cannot be compared")
    if options["as_json"]:
        losses = {"steps": verify, "same": verdicts == [""], "difference": "".join(verdicts)} if verify else None
        told = [[each._asdict() for each in of_one] for of_one in (environment, changed)]
        names = {"reproduces": recorded.id, "environment": told[0], "differences": told[1], "losses": losses}
        give("reproduce/1", {**run_data(repeated), **names, "exit_code": 0, "errors": []})
    # An empty verdict says that the losses are the same; any other, or none, is a failure.
    raise SystemExit(code or int(bool(verify) and verdicts != [""]))
