"""Losses and metrics of two processes (CPU, gloo): the values that torchmetrics has, in fewer exchanges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands import TESTS, run_command
from tests.parts.metrics.synchronization_job import METRICS

LAUNCH = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc_per_node=2",
    "-m",
    "tests.parts.metrics.synchronization_job",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What each of the processes found, by case."""
    done = run_command(*LAUNCH, environment=TESTS)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("case", METRICS)
def test_values_are_those_of_torchmetrics(case: str, found: list[dict[str, Any]]) -> None:
    first, second = (process[case] for process in found)
    assert first["ours"] == second["ours"]
    for process in (first, second):
        metrics = {name: value for name, value in process["ours"].items() if name.startswith("metrics/")}
        theirs = process["theirs"]
        assert sorted(metrics.values()) == sorted(theirs.values() if isinstance(theirs, dict) else [theirs])
        assert process["ours"].keys() - metrics.keys() == {"loss", "loss/other"}
        assert process["has_its_own"]
        assert process["gathers_itself"]


def test_what_another_library_does_not_add_up_is_a_mean(found: list[dict[str, Any]]) -> None:
    values = found[0]["of another library"]["ours"]
    assert values["metrics/count"] == 40  # of each process
    assert values["metrics/share"] * 80 == pytest.approx(round(values["metrics/share"] * 80))


def test_states_that_add_up_take_an_exchange_for_all_of_them(found: list[dict[str, Any]]) -> None:
    # whether all agree, the losses, and the counts of all metrics
    assert found[0]["sums"]["exchanges"] == {"all_reduce": 3}
    assert found[0]["a metric in another"]["exchanges"].keys() == {"all_reduce", "barrier", "all_gather"}
