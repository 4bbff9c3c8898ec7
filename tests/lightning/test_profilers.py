"""`profiler: NAME` reports under the run's folder."""

from __future__ import annotations

import pytest

from tests.lightning.compare import config_of, with_lighter

PROFILERS = {"simple": "run_training_batch", "advanced": "cumulative", "pytorch": "aten::"}


@pytest.mark.parametrize("profiler", PROFILERS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own
def test_a_profiler_reports_under_the_runs_folder(profiler, trainer):
    text = f"model: {{_target_: tests.lightning.jobs.Net}}\ntrainer: {{max_epochs: 1, profiler: {profiler}}}"
    folder = with_lighter(config_of(text, trainer)).folder
    report = folder / ("fit-profile.txt" if trainer == "lighter.Trainer" else "run.log")
    assert PROFILERS[profiler] in report.read_text()
