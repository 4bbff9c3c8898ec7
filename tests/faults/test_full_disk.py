"""The short version of the script that fills disks."""

from __future__ import annotations

import pytest

from tests.faults import inject_full_disk

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("can_mount", [True, False], ids=["a tmpfs, if one can be mounted", "a limit to files"])
def test_a_full_disk_costs_no_checkpoint(can_mount: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_mount:
        monkeypatch.setattr(inject_full_disk, "_called", lambda *command: False)
    results = inject_full_disk.run(short=True)
    assert len(results.rows) == 4
    assert results.broken == []
