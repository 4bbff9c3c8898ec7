"""`lighter check`: everything that is wrong with a config, without running anything of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.json_errors import USAGE, entry, place_of
from lighter.cli.json_output import give, note, note_all
from lighter.cli.options import EPILOG, as_json, inputs, safe_mode, with_safe_mode, with_traceback

if TYPE_CHECKING:
    from lighter.config.problems import Problem
    from lighter.config.safe import SafeMode

WRONG = 2


@click.command(epilog=EPILOG)
@inputs
@click.option("--stage", metavar="STAGE", help="Only what this stage needs; otherwise the whole config, and fit.")
@click.option("--shape", is_flag=True, help="Only what can be told without importing anything: at once.")
@as_json
@click.option("--probe", is_flag=True, help="Then build everything and run one step; show the shapes. Writes nothing.")
@with_traceback
@with_safe_mode
def check(**options: Any) -> None:
    """Find all that is wrong, without running anything. INPUT: config files, and overrides (key::path=value)."""
    raise SystemExit(run_check(list(options.pop("inputs")), options.pop("stage"), options))


def run_check(inputs: Sequence[str], stage: str | None, options: Mapping[str, Any]) -> int:
    from lighter.config.check.sections import STAGES
    from lighter.config.problems import ERROR, closest, in_order
    from lighter.errors import ConfigError

    shape, as_json, probe = (options[name] for name in ("shape", "as_json", "probe"))
    if stage is not None and stage not in STAGES:
        return _refused(f"`{stage}` is no stage. {closest(stage, STAGES) or ', '.join(STAGES)}")
    if probe and (stage not in (None, "fit") or shape or as_json):
        return _refused("--probe runs a training step: leave out --stage, --shape and --json.")
    try:
        safe = safe_mode(options)
    except ConfigError as error:
        note(error)
        print(error, file=sys.stderr)
        return WRONG
    problems: list[Problem] = []
    for of_tier in tiers(inputs, stage, shape=shape, safe=safe):
        if of_tier and not as_json:
            before, more = ("\n", " more") if problems else ("", "")
            print(f"{before}{title(of_tier, more)}\n\n" + "\n\n".join(map(str, of_tier)), file=sys.stderr, flush=True)
        problems += of_tier
    if as_json:
        give("check/1", {"problems": [as_data(problem) for problem in in_order(problems)]})
    if any(problem.severity == ERROR for problem in problems):
        return WRONG
    if probe:
        from lighter.cli.probe import run_probe

        return run_probe(inputs, safe, traceback=options["traceback"])
    if not problems and not as_json:
        print("No problems." if not shape else "No problems that can be told without importing anything.")
    return 0


def _refused(message: str) -> int:
    note_all([entry(USAGE, message)])
    print(message, file=sys.stderr)
    return WRONG


def tiers(
    inputs: Sequence[str], stage: str | None, *, shape: bool = False, safe: SafeMode | None = None
) -> Iterator[list[Problem]]:
    """Yield the problems of each tier, in the order of the files; with `shape`, of the first only."""
    from lighter.config import examine
    from lighter.config.problems import in_order
    from lighter.errors import ConfigError
    from lighter.processes.garbage_collection import without_collections
    from lighter.processes.streams import stdout_kept

    # The first tier is known at once; the second takes seconds, as it imports all targets.
    config, problems = examine(inputs, safe)
    yield in_order(problems)
    # Of an untrusted config nothing is imported unless the first tier finds no problem.
    if config is None or shape or (config.safe is not None and problems):
        return
    try:
        # what modules print while they are imported is no part of the result
        with without_collections(), stdout_kept():
            from lighter.engine.check.second_tier import second_tier
            from lighter.engine.project import importable

            with importable(config, Path.cwd()):
                every = second_tier(config, stage)
    except ConfigError as error:
        yield in_order(error.problems)
        return
    yield in_order([problem for problem in every if problem not in problems])


def title(problems: Sequence[Problem], more: str = "") -> str:
    from lighter.config.problems import ERROR

    errors = sum(problem.severity == ERROR for problem in problems)
    counts = [(errors, "problem"), (len(problems) - errors, "warning")]
    said = " and ".join(f"{count}{more} {noun}{'s' * (count != 1)}" for count, noun in counts if count)
    return f"The config has {said}."


def as_data(problem: Problem) -> dict[str, Any]:
    """Return a problem for editors and CI. These fields stay; others may come."""
    return {**place_of(problem), "message": problem.message}
