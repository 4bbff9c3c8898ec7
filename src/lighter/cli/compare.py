"""`lighter compare`: whether one side is better than another, how sure that is, and what it does not cover."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lighter.cli.completion import of_results
from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, in_folder

if TYPE_CHECKING:
    from lighter.results.testing import Test

FORMATS = ("table", "markdown", "latex", "json", "csv")


@click.command(
    "compare",
    epilog="A SIDE is a RUN, an EXP (its best trial), EXP/trial-3, several runs (`a,b,c` or a pattern), or NAME=SIDE; "
    "over several tasks NAME=SIDE+SIDE.",
)
@click.argument("sides", nargs=-1, required=True, metavar="SIDE...", shell_complete=of_results)
@in_folder
@click.option(
    "--metric", multiple=True, metavar="NAME", help="By which metric, or metrics. Default: the experiments' objective."
)
@click.option("--against", metavar="NAME", help="The side that all others are compared with, if fixed before.")
@click.option(
    "--allow",
    multiple=True,
    metavar="KIND,...",
    help="Compare in spite of this: data, split, metric, code, budget, ...",
)
@click.option(
    "--test",
    type=click.Choice(("auto", "permutation", "bayes", "aso")),
    default="auto",
    show_default=True,
    help="permutation: in place of the test that belongs to the interval; bayes, aso: beside it.",
)
@click.option("--rope", type=float, default=0.0, help="For bayes: a difference that does not matter in practice.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@as_json
@click.option("--checklist", is_flag=True, help="Answer what the NeurIPS checklist asks about error bars and compute.")
def compare_command(
    sides: tuple[str, ...],
    root: Path,
    metric: tuple[str, ...],
    against: str | None,
    allow: tuple[str, ...],
    test: Test,
    rope: float,
    form: str,
    as_json: bool,
    checklist: bool,
) -> None:
    """Tell which side is better, and how sure that is.

    \b
      lighter compare EXP1 EXP2
      lighter compare EXP                     its trials
      lighter compare ours=EXP1/trial-3 base=EXP2 --metric test/metrics/accuracy
      lighter compare 'a,b,c' 'd,e,f' --format latex
    """
    from lighter.results.entry import compare

    _refuse_two_formats(form, as_json=as_json, checklist=checklist)
    with mistakes_shown():
        comparison = compare(*sides, metric=metric, allow=allow, against=against, test=test, region=rope, root=root)
        shown = comparison.checklist() if checklist else None
    if shown is not None:
        click.echo(shown)
    elif as_json or form == "json":
        give("compare/1", comparison.public())
    elif form == "table":
        comparison.show()
    else:
        click.echo({"markdown": comparison.markdown, "latex": comparison.latex, "csv": comparison.csv}[form]())


def _refuse_two_formats(form: str, *, as_json: bool, checklist: bool) -> None:
    is_given = click.get_current_context().get_parameter_source("form") is not ParameterSource.DEFAULT
    asked = [f"--format {form}"] if is_given and not (as_json and form == "json") else []
    asked += ["--json"] if as_json else []
    asked += ["--checklist"] if checklist else []
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} are two outputs; ask for one.")
