"""A short version of `inject_generated`, and that it can fail."""

from __future__ import annotations

import sys

import pytest

from tests.faults import inject_generated
from tests.faults.generated import draw
from tests.faults.generated_parts import FEATURES, UNSAVED
from tests.faults.inject_generated import SHORT, run, seeds_of
from tests.faults.table import Results


@pytest.mark.faults
def test_what_says_exact_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])  # to which a run in this process adds its folder
    results: Results = run(seeds_of(["--short"]))
    assert not results.broken, "\n".join(results.broken)
    assert results.rows["a fit goes on and ends well"].tried > 3 * SHORT


def test_a_promise_of_less_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other test is worth: a difference, a crash and a silence are broken promises."""
    fits = {
        0: [inject_generated.Tried("cut", ["exact"], "other weights", is_ended=True)],
        1: [inject_generated.Tried("cut", ["not exact (x)"], "other weights", is_ended=True)],
        2: [inject_generated.Tried("cut", ["not exact (x)"], "a traceback", is_ended=False)],
    }
    results = inject_generated.judged({seed: ("config", found) for seed, found in fits.items()})
    assert {promise: row.broken for promise, row in results.rows.items() if row.broken} == {
        "a fit goes on and ends well": ["seed 2, cut: a traceback"],
        "what says `resume: exact` is exact": ["seed 0, cut: other weights"],
        "50% of the fits and more say so": ["33% of 3 fits"],
    }


def test_jobs_are_drawn_by_their_seeds_from_everything() -> None:
    jobs = [draw(seed) for seed in range(200)]
    assert jobs[:20] == [draw(seed) for seed in range(20)]
    modules = [job.get("model") or job["system"] for job in jobs]
    assert {feature for module in modules for feature in module["features"]} == {*FEATURES, *UNSAVED}
