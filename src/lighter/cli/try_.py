"""`lighter try`: whether a change of a baseline is better, decided by as few pairs of fits as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lighter.cli.completion import of_results
from lighter.cli.json_output import give, note_fact
from lighter.cli.options import EPILOG, as_json, in_folder, with_traceback

if TYPE_CHECKING:
    from lighter.tries.outcome import Outcome


@click.command("try", epilog=EPILOG)
@click.argument("overrides", nargs=-1, required=True, metavar="OVERRIDE...")
@click.option(
    "--against",
    required=True,
    metavar="RUN",
    help="The baseline: a fit, or an experiment (its best trial).",
    shell_complete=of_results,
)
@in_folder
@click.option("--metric", metavar="NAME", help="A metric of validation. Default: what the baseline was chosen by.")
@click.option(
    "--max_pairs", type=click.IntRange(min=1), default=20, show_default=True, help="Undecided after so many pairs."
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Chance that over 5 useless changes of a baseline are kept. Fixed by its first try: 0.02.",
)
@click.option("--allow", type=click.Choice(("budget",)), multiple=True, help="Let it train longer or shorter.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Fits that run at once.")
@click.option("--dry_run", is_flag=True, help="Say whether it may be tried; train nothing.")
@as_json
@with_traceback
def try_command(
    overrides: tuple[str, ...],
    against: str,
    root: Path,
    metric: str | None,
    max_pairs: int,
    alpha: float | None,
    allow: tuple[str, ...],
    workers: int | None,
    dry_run: bool,
    as_json: bool,
    traceback: bool,
) -> None:
    """Tell whether a change of a run or experiment is better.

    Both sides are trained with the same seeds, one pair after the other, until that is decided. Of all changes that
    are tried against one baseline and do nothing, at most 5 are kept. The validation data and metrics are frozen.

    \b
      lighter try model::optimizer::lr=0.01 --against last
      lighter try model::network::_target_=project.net.Wider --against EXP

    Exit codes: 0 better, 10 worse, 11 undecided; 2 refused, or a mistake; 1 a fit failed.
    """
    from lighter.cli.stage import exit_code

    codes: list[int] = []

    def run() -> None:
        from lighter.tries.attempt import Options, attempt
        from lighter.tries.outcome import Cost

        def note_cost(cost: Cost) -> None:
            note_fact("cost", {**vars(cost)})

        note_cost(Cost())

        options = Options(metric, max_pairs, alpha, allow, workers, dry_run)
        outcome = attempt(overrides, against, root, options, note_cost)
        _show(outcome, as_json)
        codes.append(outcome.exit_code)

    code = exit_code(run, traceback=traceback, about="baseline or change")
    raise SystemExit(code or codes[0])


def _show(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        give("try/1", outcome.public())
        return
    click.echo(outcome.sentence)
    for note in outcome.notes:
        click.echo(note)
