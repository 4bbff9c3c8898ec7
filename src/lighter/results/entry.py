"""`lighter.compare`: words, handles and paths to a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from lighter.config.problems import indefinite, nearest
from lighter.errors import RunError
from lighter.experiments.handle import Experiment
from lighter.files.run_folder import OUTPUTS
from lighter.results.comparison import Comparison
from lighter.results.comparison import compare as compare_sides
from lighter.results.metrics import MetricsComparison, compare_metrics
from lighter.results.scores import stage_of, with_tests
from lighter.results.sides import Side, side_of, sides_of, task_words
from lighter.results.tasks import TaskComparison, compare_tasks
from lighter.results.testing import Test
from lighter.runs.handle import Run


def compare(
    *sides: str | Path | Experiment | Run,
    metric: str | Sequence[str] | None = None,
    allow: str | Sequence[str] = (),
    against: str | None = None,
    test: Test = "auto",
    region: float = 0.0,
    root: str | Path = OUTPUTS,
) -> Comparison | MetricsComparison | TaskComparison:
    """Tell which of several sides is better, how sure that is, and what it does not cover.

    Args:
        sides: runs and experiments as `lighter compare` takes them: a path, an id, a name, `EXP/trial-3`, several runs
            joined by commas, `NAME=SIDE`; or handles. A single experiment is compared within itself, by its trials.
            With several tasks each side is `NAME=SIDE+SIDE`, in the same order.
        metric: by default the objective of the experiments, or what `lighter runs list` shows first; or several.
        allow: differences for which a comparison is not refused: `data`, `split`, `metric`, `code`, `budget`,
            `tuning`, `config`, `seeds`, or `all`.
        against: the name of the side with which all others are compared, if it was fixed before the results were known.
        test: `auto` for the test that belongs to the interval; `permutation` in its place; `bayes` or `aso` beside it.
        region: for `bayes`, a difference of at most this much does not matter in practice.
        root: where runs and experiments are, for those that are not given by a path.

    Example:
        ```python
        comparison = lighter.compare("ours=2026-11-29/14-03", "base=2026-11-29/15-10")
        comparison.verdict
        comparison.markdown()
        ```

    Raises:
        RunError: they cannot be compared as they are; the message says why, and how to have it all the same.
    """
    words = [_word(each) for each in sides]
    metrics = _names(metric, "metric")
    allow = [kind for each in _names(allow, "allow") for kind in each.split(",") if kind]
    _check(test, region)
    stage = stage_of(metrics[0]) if metrics else "fit"
    tasks = [task_words(word) for word in words]
    if all(len(parts) == 1 for _, parts in tasks):
        found = _tested(sides_of(words, Path(root), stage), metrics, Path(root))
        if len(metrics) > 1:
            return compare_metrics(found, metrics, allow=allow, against=against, test=test, region=region)
        only = metrics[0] if metrics else None
        return compare_sides(found, only, allow=allow, against=against, test=test, region=region)
    if against is not None or test != "auto" or len(metrics) > 1:
        raise RunError("several tasks are compared each with each, by one metric and one test: no --against, no --test")
    named = [(name, [side_of(part, Path(root), stage) for part in parts]) for name, parts in tasks]
    tested = [(name, _tested(parts, metrics, Path(root))) for name, parts in named]
    return compare_tasks(tested, metrics[0] if metrics else None, allow=allow)


def _word(side: object) -> str:
    """Return what the command line would have of a side.

    Raises:
        RunError: it is none.
    """
    if isinstance(side, (Experiment, Run)):
        return str(side.path)
    if isinstance(side, (str, Path)):
        return str(side)
    raise RunError(f"a side is a word, a path, or the handle of a run or an experiment, and not {indefinite(side)}")


def _names(given: object, name: str) -> list[str]:
    """Return a name, or several, as a list.

    Raises:
        RunError: something is no name.
    """
    names = [given] if isinstance(given, str) else given if isinstance(given, (list, tuple, set)) else []
    wrong = [each for each in names if not isinstance(each, str) or not each.strip()]
    if wrong or (given is not None and not isinstance(given, (str, list, tuple, set))):
        raise RunError(f"`{name}` is a name or several, and not {indefinite(wrong[0] if wrong else given)}")
    return [str(each) for each in names]


def _check(test: object, region: float) -> None:
    """Raise `RunError` for a test that there is not, or a region that none of them has."""
    if test not in get_args(Test):
        raise RunError(f"`{test}` is no test. {nearest(test, get_args(Test))}")
    if isinstance(region, bool) or not isinstance(region, (int, float)) or not 0 <= region < math.inf:
        raise RunError(f"the region that does not matter (--rope) is a number from 0 on, and not {region!r}")
    if region and test != "bayes":
        raise RunError("a region that does not matter (--rope) is one of the Bayesian test alone: --test bayes")


def _tested(sides: Sequence[Side], metrics: Sequence[str], root: Path) -> list[Side]:
    """Return sides with the tests of their fits in place of them, if the metrics are of tests."""
    if len({stage_of(metric) for metric in metrics}) > 1:
        raise RunError("metrics of fits and of tests are compared one after the other")
    return [with_tests(side, metrics[0], root) if metrics else side for side in sides]
