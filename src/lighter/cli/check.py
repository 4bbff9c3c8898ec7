"""`lighter check`: everything that is wrong with a config, without running anything of it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lighter.cli.safe import safe_mode
from lighter.config import examine
from lighter.config.check.sections import STAGES
from lighter.config.problems import ERROR, Problem, closest, in_order
from lighter.config.safe import SafeMode
from lighter.errors import ConfigError
from lighter.processes.garbage_collection import without_collections

WRONG = 2


def run_check(inputs: Sequence[str], stage: str | None, options: Mapping[str, Any]) -> int:
    """Check, print what was found, and return the exit code."""
    shape, as_json, probe = (options[name] for name in ("shape", "as_json", "probe"))
    if stage is not None and stage not in STAGES:
        print(f"`{stage}` is no stage. {closest(stage, STAGES) or ', '.join(STAGES)}", file=sys.stderr)
        return WRONG
    if probe and (stage not in (None, "fit") or shape or as_json):
        print("--probe runs a training step: leave out --stage, --shape and --json.", file=sys.stderr)
        return WRONG
    try:
        safe = safe_mode(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    problems: list[Problem] = []
    for found in tiers(inputs, stage, shape=shape, safe=safe):
        if found and not as_json:
            before, more = ("\n", " more") if problems else ("", "")
            print(f"{before}{title(found, more)}\n\n" + "\n\n".join(map(str, found)), file=sys.stderr, flush=True)
        problems += found
    wrong = any(problem.severity == ERROR for problem in problems)
    if as_json:
        shown = [as_data(problem) for problem in in_order(problems)]
        print(json.dumps({"problems": shown}, ensure_ascii=False, indent=2))
    if wrong:
        return WRONG
    if probe:
        from lighter.cli.probe import run_probe

        return run_probe(inputs, safe, traceback=options["traceback"])
    if not problems and not as_json:
        print("No problems." if not shape else "No problems that can be told without importing anything.")
    return 0


def found_in(inputs: Sequence[str], stage: str | None, *, shape: bool, safe: SafeMode | None = None) -> list[Problem]:
    """The problems of both tiers, in the order of the files; with `shape`, of the first only."""
    return in_order([problem for found in tiers(inputs, stage, shape=shape, safe=safe) for problem in found])


def tiers(
    inputs: Sequence[str], stage: str | None, *, shape: bool, safe: SafeMode | None = None
) -> Iterator[list[Problem]]:
    """The problems of the first tier, which are known at once, then those of the second, after all is imported.

    Of a stranger's config nothing is imported unless the first tier finds no problem.
    """
    config, problems = examine(inputs, safe)
    yield in_order(problems)
    if config is None or shape or (config.safe is not None and problems):
        return
    try:
        # what modules print while they are imported is no part of the result
        with without_collections(), contextlib.redirect_stdout(sys.stderr):
            from lighter.engine.check import check
            from lighter.engine.project import importable

            with importable(config, Path.cwd()):
                found = check(config, stage or "fit", everything=stage is None)
    except ConfigError as error:
        yield in_order(error.problems)
        return
    yield in_order([problem for problem in [*found.problems, *found.failures] if problem not in problems])


def title(problems: Sequence[Problem], more: str = "") -> str:
    """How many errors and warnings there are."""
    errors = sum(problem.severity == ERROR for problem in problems)
    counts = [(errors, "problem"), (len(problems) - errors, "warning")]
    said = " and ".join(f"{count}{more} {what}{'s' * (count != 1)}" for count, what in counts if count)
    return f"The config has {said}."


def as_data(problem: Problem) -> dict[str, Any]:
    """A problem for editors and CI. These fields stay; others may come."""
    origin = problem.origin
    placed = origin is not None and origin.source.is_file
    return {
        "severity": problem.severity,
        "file": origin.source.name if origin is not None and placed else None,
        "line": origin.line if origin is not None and placed else None,
        "column": origin.column if origin is not None and origin.source.text else None,
        "word": origin.source.text if origin is not None and origin.source.is_override else None,
        "path": problem.path or None,
        "message": problem.message,
        "hint": problem.hint or None,
    }
