"""The files that a run is read from are there at every moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighter.files.run_folder import RunFolder
from lighter.runs import record


def test_killed_while_it_writes_another_config_it_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    record.write_config({"seed": 1}, folder)
    write, seen = record.write_whole, []

    def watched(path: Path, content: str | bytes) -> None:
        seen.append(folder.config.read_text())
        write(path, content)

    monkeypatch.setattr(record, "write_whole", watched)
    record.write_config({"seed": 2}, folder)
    assert seen == ["seed: 1\n"] * 2
    assert (folder.config.read_text(), (tmp_path / "config.1.yaml").read_text()) == ("seed: 2\n", "seed: 1\n")
