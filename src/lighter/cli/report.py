"""`lighter report`: one page of runs and experiments, as a file."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lighter.cli.completion import of_results
from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, in_folder

_WORDS = (
    "A RUN or EXPERIMENT is a path, an id, the beginning of one, a name, or `last`: the newest of both. A name that "
    "several runs have means all of them, EXP/trial-3 a trial, and a,b,c several runs; ours=WORD gives them a name. "
    "Without any, the page is about all runs of --dir."
)
_MEGABYTE = 1e6


def _file(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    if str(path) in (".", "-"):
        raise click.BadParameter("that is no file; the page is one: -o FILE")
    return path


def _finite(context: click.Context, parameter: click.Parameter, seconds: float) -> float:
    if not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is no number of seconds")
    return seconds


@click.command(epilog=_WORDS)
@click.argument("words", nargs=-1, metavar="[RUN|EXPERIMENT]...", shell_complete=of_results)
@in_folder
@click.option(
    "-o",
    "--output",
    default="report.html",
    show_default=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_file,
    help="The page.",
)
@click.option("--watch", is_flag=True, help="Write it again until nothing of it runs; an open page follows by itself.")
@click.option(
    "--every",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    callback=_finite,
    help="Seconds, with --watch.",
)
@as_json
@click.pass_context
def report(context: click.Context, /, words: tuple[str, ...], root: Path, output: Path, **options: Any) -> None:
    """Write a page about runs: verdicts, table, curves, search, predictions, configs.

    \b
      lighter report last
      lighter report 2026-11-22/14-03 2026-11-22/15-11 -o seeds.html
      lighter report sweep --watch
      lighter report ours=last/trial-1 base=last/trial-0

    The file opens from disk in any browser and needs no network.
    """
    from lighter.results.report.subject import find_subject
    from lighter.results.report.watch import write_page

    if not root.is_dir() and (not words or root.exists() or _is_given(context)):
        raise click.BadParameter(f"there is no folder {root}", context, param_hint="--dir")
    with mistakes_shown():
        if options["watch"]:
            size = _watched(words, root, output, options["every"])
        else:
            size = write_page(find_subject(words, root), output)
    if options["as_json"]:
        give("report/1", {"path": output, "bytes": size})
    else:
        click.echo(f"{output} ({size / _MEGABYTE:.1f} MB)")


def _watched(words: tuple[str, ...], root: Path, output: Path, every: float) -> int:
    from lighter.results.report.watch import watch_page

    pages = watch_page(words, root, output, every)
    first = next(pages)
    click.echo(f"{output} is written every {every:g} s until nothing of it runs; Ctrl-C stops that", err=True)
    sizes = deque(pages, maxlen=1)
    return sizes.pop() if sizes else first


def _is_given(context: click.Context) -> bool:
    return context.get_parameter_source("root") is ParameterSource.COMMANDLINE
