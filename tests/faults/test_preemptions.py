"""The short version of the script that preempts a launched fit, where there is a SLURM."""

from __future__ import annotations

import pytest

from tests.faults import inject_preemptions
from tests.slurm_node import reason_to_skip

pytest.importorskip("submitit")
pytestmark = [pytest.mark.faults, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


def test_no_preemption_changes_a_bit() -> None:
    results = inject_preemptions.run(short=True)
    assert len(results.rows) == 5
    assert results.broken == []
