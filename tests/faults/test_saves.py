"""The short versions of the scripts that damage checkpoints and kill while they are saved."""

from __future__ import annotations

import pytest

from tests.faults import inject_damage, inject_kills_in_saves, inject_sharded

pytestmark = pytest.mark.faults


def test_every_damage_is_detected() -> None:
    results = inject_damage.run(short=True)
    assert len(results.rows) == 4
    assert results.broken == []


def test_no_kill_inside_a_save_tears_or_loses_a_checkpoint() -> None:
    results = inject_kills_in_saves.run(short=True)
    assert len(results.rows) == 10
    assert results.broken == []


def test_no_kill_inside_a_save_of_two_processes_tears_or_loses_a_checkpoint() -> None:
    results = inject_sharded.run(short=True)
    assert len(results.rows) == 2
    assert results.broken == []
