"""Run folders as runs leave them, made without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_run(root: Path, identity: str, **facts: Any) -> Path:
    folder = root / identity
    folder.mkdir(parents=True)
    given = {"id": identity, "name": "digits", "stage": "fit", "status": "finished", "host": "x", "seconds": 1.5}
    (folder / "run.json").write_text(json.dumps({**given, "metrics": {"val/loss/epoch": 0.5}, **facts}))
    (folder / "config.yaml").write_text("trainer: {max_epochs: 3}\n")
    return folder


def make_runs(root: Path, count: int) -> None:
    """Many runs, each with the size of a real record."""
    packages = {f"package-{index}": "1.2.3" for index in range(80)}
    for index in range(count):
        day, rest = divmod(index, 1000)
        minute, second = divmod(rest, 60)
        identity = f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}/10-{minute:02d}-{second:02d}-digits"
        make_run(
            root,
            identity,
            software={"packages": packages},
            metrics={f"val/metrics/m{number}/epoch": index / (number + 1) for number in range(12)},
        )
