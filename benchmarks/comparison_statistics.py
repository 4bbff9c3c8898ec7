"""Whether the statistics of `lighter compare` hold: coverage of intervals, false alarms, agreement with other packages.

    python benchmarks/comparison_statistics.py
    python benchmarks/comparison_statistics.py --oracles    # only what other packages say

Simulates comparisons whose truth is known; the tests run a short form of the same. Prints tables and writes them into
benchmarks/RESULTS.md. Packages that are not installed (rliable, deepsig, baycomp, statsmodels) are left out.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from results import report

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(1, str(Path(__file__).parents[1]))  # the simulations are those of the tests

from tests.results.statistics.oracles import ORACLES, asked, gap
from tests.results.statistics.simulations import (
    COMPARISONS,
    DESIGNS,
    FAILED,
    METRICS,
    SIZES,
    called,
    coverage,
    coverage_of_mean,
    typical_difference,
)

COVERAGE_BEFORE = """\
95% intervals of the typical difference between two sides, each with 3 to 10 members: of {repetitions:,} simulated
comparisons, the percentage whose interval holds the truth (standard error {error:.2f}). Members of a pair are
independent (paired) or correlated (paired, alike seeds: 0.5 before they are given their distribution)."""
COVERAGE_AFTER = """\
93 to 97 is what an interval should hold. Above it, marked by *, it is wider than it need be: both sides alike, and
skewed or with heavy tails. 1 and 2 members are refused."""
CALLED_BEFORE = """\
A recipe compared with itself, {repetitions:,} times by whole calls of `effect`: the percentage that is called a
difference (p < 0.05; the standard error of 5% is {error:.2f}). Folds are those of a real cross-validation of a small
learner."""
CALLED_AFTER = (
    "At most 5, within a few standard errors, is what a test may call; Student's t of normal scores calls just 5."
)
FAILED_BEFORE = """\
Intervals of the mean of 3 to 10 paired differences: the percentage that holds it, of {repetitions:,}. These are what
was tried and is not used for members, or (Student's t) not as an interval of the mean."""
FAILED_AFTER = "No interval of the mean holds for skewed differences; the bootstrap of so few values holds for none."
ORACLES_BEFORE = "The greatest difference between our numbers and those of other packages on the same data."
ORACLES_AFTER = "1e-6 where both are exact; Monte Carlo error where both draw."


def main() -> None:
    options = parse_arguments()
    if not options.oracles:
        show_coverage(options.repetitions)
        show_called(options.comparisons)
        show_failed(min(options.repetitions, 2000))
    show_oracles()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000, help="simulated comparisons behind each number")
    parser.add_argument("--comparisons", type=int, default=1000, help="comparisons of a recipe with itself")
    parser.add_argument("--oracles", action="store_true", help="only ask other packages")
    return parser.parse_args()


def percent_error(share: float, count: int) -> float:
    return 100 * math.sqrt(share * (1 - share) / count)


def show_coverage(repetitions: int) -> None:
    cases = [(design, name) for design in DESIGNS for name in METRICS]
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(coverage_row, *zip(*cases, strict=True), repeat(repetitions)))
    before = COVERAGE_BEFORE.format(repetitions=repetitions, error=percent_error(0.95, repetitions))
    report(
        "Coverage of the intervals of a comparison",
        ["members of each side", *map(str, SIZES)],
        rows,
        before=before,
        after=COVERAGE_AFTER,
    )


def coverage_row(design: str, name: str, repetitions: int) -> list[str]:
    metric, correlation = METRICS[name], DESIGNS[design]
    truth = typical_difference(metric, correlation)
    found = [100 * coverage(metric, correlation, size, repetitions, truth) for size in SIZES]
    return [f"{design}: {name}", *(f"{each:.1f}" + "*" * (not 93 <= each <= 97) for each in found)]


def show_called(repetitions: int) -> None:
    with ProcessPoolExecutor() as pool:
        shares = pool.map(called, COMPARISONS, repeat(repetitions))
        rows = [[name, f"{100 * share:.1f}"] for name, share in zip(COMPARISONS, shares, strict=True)]
    before = CALLED_BEFORE.format(repetitions=repetitions, error=percent_error(0.05, repetitions))
    report("A recipe compared with itself", ["", "called, %"], rows, before=before, after=CALLED_AFTER)


def show_failed(repetitions: int) -> None:
    names = [
        "normal, no effect",
        "accuracy near 0.95, spreads 3:1",
        "lognormal loss, twice",
        "exponential loss, 3 times",
    ]
    rows = [
        [
            f"{method}: {name}",
            *(f"{100 * coverage_of_mean(method, METRICS[name], size, repetitions):.1f}" for size in SIZES),
        ]
        for method in FAILED
        for name in names
    ]
    before = FAILED_BEFORE.format(repetitions=repetitions)
    report("Intervals that do not hold", ["pairs", *map(str, SIZES)], rows, before=before, after=FAILED_AFTER)


def show_oracles() -> None:
    rows = []
    for name, oracle in ORACLES.items():
        try:
            disagreement = f"{gap(oracle.ours(), asked(oracle)):.1g}"
        except ImportError:
            disagreement = "not installed"
        rows.append([f"{name}: {oracle.package}", disagreement, f"{oracle.tolerance:.1g}"])
    columns = ["", "greatest difference", "tolerance"]
    report("Statistics beside other packages", columns, rows, before=ORACLES_BEFORE, after=ORACLES_AFTER)


if __name__ == "__main__":
    main()
