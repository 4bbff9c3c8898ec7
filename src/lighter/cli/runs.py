"""`lighter runs`: find, show, compare, tag and remove runs. Tables are imported when there is one to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, in_folder, together

_STATUSES = ("running", "finished", "failed", "interrupted", "lost")
_RUN = "A RUN is a path, an id, the beginning of one, a name, or `last`."


_OF_EPOCH = {
    "best": "of each run its best epoch (--epoch last: its last)",
    "last": "of each run its last epoch (--epoch best: its best)",
}


@click.group(epilog=_RUN)
def runs() -> None:
    """List, show, compare, tag and remove runs.

    \b
      lighter runs list --status finished --sort val/loss/epoch
      lighter runs show last
      lighter runs diff 2026-11-22/14 last
    """


def _tell(text: str) -> None:
    click.echo(text, err=True)


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
@click.option("--limit", default=30, show_default=True, help="At most so many rows; 0 for all. JSON has all.")
@as_json
def list_runs(**options: Any) -> None:
    """List the runs, newest first."""
    from lighter.cli import run_tables
    from lighter.runs.filter import full_name, select_rows, sort_rows
    from lighter.runs.index import summaries

    with mistakes_shown():
        rows = select_rows(summaries(options["root"], _tell), options)
        rows = sort_rows(rows, options["sort"], reverse=options["reverse"])
        options["metrics"] = [name if "::" in name else full_name(name, rows) for name in options["metrics"]]
    if options["as_json"]:
        run_tables.print_json([run_tables.public(row) for row in rows])
    else:
        run_tables.print_rows(rows, options)


@runs.command(epilog=_RUN)
@click.argument("run")
@in_folder
@click.option("--metric", "metrics", multiple=True, metavar="METRIC", help="The curve of this value.")
@as_json
def show(run: str, root: Path, metrics: tuple[str, ...], as_json: bool) -> None:
    """Show all about a run, with its curves."""
    from lighter.cli import run_tables
    from lighter.runs.read import read_run
    from lighter.runs.select import find_run

    with mistakes_shown():
        record = read_run(find_run(run, root).path)
    if as_json:
        facts = {**record.facts, "status": record.status, "tags": list(record.tags)}
        run_tables.print_json({**facts, "path": str(record.folder.path)})
    else:
        run_tables.print_run(record, metrics)


@runs.command(epilog=_RUN)
@click.argument("first")
@click.argument("second")
@in_folder
@as_json
def diff(first: str, second: str, root: Path, as_json: bool) -> None:
    """Compare two runs: config, code, environment, data, results."""
    from lighter.cli import run_tables
    from lighter.runs.compare import differences
    from lighter.runs.read import read_run
    from lighter.runs.select import find_run

    with mistakes_shown():
        one, other = (read_run(find_run(wanted, root).path) for wanted in (first, second))
    differing = differences(one, other)
    if as_json:
        run_tables.print_json([difference._asdict() for difference in differing])
    else:
        run_tables.print_differences(differing, one.id, other.id)


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
@click.option("--limit", default=5, show_default=True, help="At most so many.")
@as_json
def best(metric: str, **options: Any) -> None:
    """List the runs with the best value of a metric."""
    from lighter.cli import run_tables
    from lighter.runs.filter import best_rows, full_name, select_rows
    from lighter.runs.index import summaries

    with mistakes_shown():
        rows, mode = best_rows(
            select_rows(summaries(options["root"], _tell), options), metric, options["mode"], options["epoch"]
        )
        metric = full_name(metric, rows)
    rows = rows[: options["limit"] or None]
    if options["as_json"]:
        run_tables.print_json([run_tables.public(row) for row in rows])
    else:
        run_tables.print_rows(
            rows, {**options, "metrics": (metric,)}, note=f"{mode} is best; {_OF_EPOCH[options['epoch']]}"
        )


@runs.command(epilog=_RUN)
@click.argument("run")
@click.argument("tags", nargs=-1)
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag off.")
@in_folder
def tag(run: str, tags: tuple[str, ...], remove: tuple[str, ...], root: Path) -> None:
    """Tag a run; print its tags."""
    from lighter.runs.read import change_tags
    from lighter.runs.select import find_run

    with mistakes_shown():
        tagged = change_tags(find_run(run, root), tags, remove)
    print(f"{tagged.id}  {' '.join(sorted(tagged.tags))}".rstrip())


@runs.command(epilog=_RUN)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@in_folder
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(runs: tuple[str, ...], root: Path, yes: bool) -> None:
    """Remove runs with everything in their folders. Asks; never removes a running one."""
    from lighter.runs.remove import removable, remove, size_of
    from lighter.runs.select import find_run

    with mistakes_shown():
        folders = removable([find_run(run, root) for run in runs])
    for folder in folders:
        print(f"{folder.path}  {size_of(folder.path)}")
    if yes or click.confirm(f"Remove {'this run' if len(folders) == 1 else f'these {len(folders)} runs'}?"):
        with mistakes_shown():
            remove(folders)
    else:
        print("Nothing was removed.")
