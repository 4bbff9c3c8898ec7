"""A network that was trained on several processes, exported by one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_sharded import lighter

EXAMPLE = Path(__file__).parents[2] / "examples/parallel"


@pytest.mark.long
def test_a_run_with_sharded_checkpoints_is_exported(own_place: Path) -> None:
    shutil.copytree(EXAMPLE, "parallel", ignore=shutil.ignore_patterns("outputs"))
    lighter("fit", "parallel/parallel.yaml", "trainer::max_steps=5")
    [last] = Path("outputs").glob("*/*/checkpoints/last.ckpt")
    assert last.is_dir()
    lighter("export", "pt2", "last")
    [facts] = Path("outputs").glob("*/*/export/last-pt2/export.json")
    exported = json.loads(facts.read_text())
    assert exported["checkpoint"]["step"] == 5
    assert exported["verification"]["calls"] > 0
