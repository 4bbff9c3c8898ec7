"""`lighter runs`: find, show, compare, tag and remove runs. Tables are imported when there is one to draw."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lighter.cli.completion import of_runs
from lighter.cli.groups import Group
from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, in_folder, together
from lighter.errors import RunError

_STATUSES = ("running", "finished", "failed", "interrupted", "lost", "paused", "pending", "requeued")
_RUN = (
    "A RUN is a path, an id, the beginning of one, a name, or `last`. Members of experiments are found by path and id: "
    "14-03-55-digits/trial-0007-seed-1; `--dir EXP` lists them."
)


_OF_EPOCH = {
    "best": "of each run its best epoch (--epoch last: its last)",
    "last": "of each run its last epoch (--epoch best: its best)",
}


@click.group(cls=Group, epilog=_RUN)
def runs() -> None:
    """List, show, compare, tag and remove runs.

    \b
      lighter runs list --status finished --sort val/loss/epoch
      lighter runs show last
      lighter runs diff 2026-11-22/14 last
    """


def can_ask() -> bool:
    """Return whether somebody can answer a question: a pipe might never do so."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _see_folder(root: Path) -> None:
    """See that a folder exists that was named. The usual one is made by the first run.

    Raises:
        RunError: it does not.
    """
    is_named = click.get_current_context().get_parameter_source("root") is not ParameterSource.DEFAULT
    if is_named and not root.is_dir():
        raise RunError(f"there is no folder {root}")


_filters = together(
    in_folder,
    click.option("--status", multiple=True, type=click.Choice(_STATUSES)),
    click.option("--stage", type=click.Choice(("fit", "validate", "test", "predict"))),
    click.option("--name", help="With this name."),
    click.option("--tag", "tags", multiple=True, help="With this tag."),
    click.option("--where", multiple=True, metavar="CONDITION", help="A metric: 'val/loss/epoch<0.3'."),
    click.option("--since", metavar="DATE", help="Started on this day or later."),
    click.option("--until", metavar="DATE", help="Started on this day or before: 2026-11-22."),
)


@runs.command("list", epilog=_RUN)
@_filters
@click.option("--sort", metavar="METRIC", help="By a metric, or `seconds`, `name`, `status`; missing ones last.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric, or this value of the config: a::b."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="At most so many rows; 0 for all. JSON has all.",
)
@as_json
def list_runs(**options: Any) -> None:
    """List the runs, newest first."""
    from lighter.cli import run_tables
    from lighter.runs.filter import full_name, select_rows, sort_rows
    from lighter.runs.index import summaries

    with mistakes_shown():
        _see_folder(options["root"])
        rows = select_rows(summaries(options["root"], _tell), options)
        rows = sort_rows(rows, options["sort"], reverse=options["reverse"])
        options["metrics"] = [name if "::" in name else full_name(name, rows) for name in options["metrics"]]
    if options["as_json"]:
        give("runs.list/1", [run_tables.public(row) for row in rows])
    else:
        run_tables.print_rows(rows, options)


@runs.command(epilog=_RUN)
@click.argument("run", shell_complete=of_runs)
@in_folder
@click.option("--metric", "metrics", multiple=True, metavar="METRIC", help="The curve of this value.")
@as_json
def show(run: str, root: Path, metrics: tuple[str, ...], as_json: bool) -> None:
    """Show all about a run, with its curves."""
    from lighter.display import terminal
    from lighter.runs.read import read_run
    from lighter.runs.select import find_run
    from lighter.runs.views import pieces_of_run

    with mistakes_shown():
        record = read_run(find_run(run, root).path)
        pieces = [] if as_json else pieces_of_run(record, metrics)
    if as_json:
        facts = {**record.facts, "status": record.status, "reason": record.reason, "tags": list(record.tags)}
        give("runs.show/1", {**facts, "path": str(record.folder.path)})
    else:
        terminal.show(*pieces)


@runs.command(epilog=_RUN)
@click.argument("first", shell_complete=of_runs)
@click.argument("second", shell_complete=of_runs)
@in_folder
@as_json
def diff(first: str, second: str, root: Path, as_json: bool) -> None:
    """Compare two runs: config, code, environment, data, results."""
    from lighter.display import terminal
    from lighter.runs.compare import differences
    from lighter.runs.read import read_run
    from lighter.runs.select import find_run
    from lighter.runs.views import pieces_of_differences

    with mistakes_shown():
        one, other = (read_run(find_run(wanted, root).path) for wanted in (first, second))
    if as_json:
        give("runs.diff/1", [difference._asdict() for difference in differences(one, other)])
    else:
        terminal.show(*pieces_of_differences(one, other))


@runs.command(epilog=_RUN)
@click.argument("metric")
@_filters
@click.option("--mode", type=click.Choice(("min", "max")), help="Whether low or high is good; told by the name if not.")
@click.option(
    "--epoch",
    type=click.Choice(("best", "last")),
    default="best",
    show_default=True,
    help="By which epoch's value: the best that a run reached, or its last.",
)
@click.option("--limit", type=click.IntRange(min=0), default=5, show_default=True, help="At most so many.")
@as_json
def best(metric: str, **options: Any) -> None:
    """List the runs with the best value of a metric."""
    from lighter.cli import run_tables
    from lighter.runs.filter import best_rows, full_name, select_rows
    from lighter.runs.index import summaries

    with mistakes_shown():
        _see_folder(options["root"])
        rows, mode = best_rows(
            select_rows(summaries(options["root"], _tell), options), metric, options["mode"], options["epoch"]
        )
        metric = full_name(metric, rows)
    rows = rows[: options["limit"] or None]
    if options["as_json"]:
        give("runs.best/1", [run_tables.public(row) for row in rows])
    else:
        run_tables.print_rows(
            rows, {**options, "metrics": (metric,)}, note=f"{mode} is best; {_OF_EPOCH[options['epoch']]}"
        )


@runs.command(epilog=_RUN)
@click.argument("run", shell_complete=of_runs)
@click.argument("tags", nargs=-1)
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag off.")
@in_folder
@as_json
def tag(run: str, tags: tuple[str, ...], remove: tuple[str, ...], root: Path, as_json: bool) -> None:
    """Tag a run; print its tags."""
    from lighter.runs.read import change_tags
    from lighter.runs.select import find_run

    with mistakes_shown():
        if not all(tag.strip() for tag in tags):
            raise RunError("a tag has at least one letter; this one is empty")
        tagged = change_tags(find_run(run, root), tags, remove)
    if as_json:
        give("runs.tag/1", {"id": tagged.id, "path": str(tagged.folder.path), "tags": sorted(tagged.tags)})
    else:
        print(f"{tagged.id}  {' '.join(sorted(tagged.tags))}".rstrip())


@runs.command(epilog=_RUN)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=of_runs)
@in_folder
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@as_json
def rm(runs: tuple[str, ...], root: Path, yes: bool, as_json: bool) -> None:
    """Remove runs with everything in their folders. Asks; never removes a running one."""
    from lighter.runs.remove import consequences, removable, remove, size_of
    from lighter.runs.select import find_run

    with mistakes_shown():
        folders = removable([find_run(run, root) for run in runs])
    for folder in folders:
        print(f"{folder.path}  {size_of(folder.path)}")
    for line in consequences(folders):
        print(line)
    with mistakes_shown():
        if not yes and not can_ask():
            raise RunError("this asks before it removes, and there is no terminal to ask at: --yes does without")
    if yes or click.confirm(f"Remove {'this run' if len(folders) == 1 else f'these {len(folders)} runs'}?"):
        with mistakes_shown():
            remove(folders)
    else:
        print("Nothing was removed.")
        folders = []
    if as_json:
        give("runs.rm/1", {"removed": [{"id": folder.id, "path": str(folder.path)} for folder in folders]})
