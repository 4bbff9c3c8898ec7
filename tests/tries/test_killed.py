"""Real tries, killed at some of their moments: they resume, count once, and come to the verdict of one that was not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lighter.config import yaml
from tests.commands import Process, run_command
from tests.tries.jobs import METRIC, SYSTEM, write_project

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="members are forked")]
TRY = ("lighter", "try", "system::optimizer::lr=1.0", "--against", "base", "--metric", METRIC, "--max_pairs", "8")


def events(home: Path) -> list[dict[str, Any]]:
    [ledger] = home.glob("outputs/*/*/tries/ledger.jsonl")
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def count(home: Path, event: str) -> int:
    try:
        return sum(each["event"] == event for each in events(home))
    except (ValueError, json.JSONDecodeError):  # not opened yet
        return 0


def test_a_killed_try_comes_to_the_same_verdict(tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    write_project(whole, monkeypatch)
    monkeypatch.delenv("LIGHTER_PROJECT")
    (whole / "c.yaml").write_text(yaml.dump({**SYSTEM, "project": ".", "run": {"name": "base"}}))
    assert run_command("lighter", "fit", "c.yaml", cwd=whole).returncode == 0
    # a copy of the whole project, whose config has the project's path
    shutil.copytree(whole, killed)
    for config in killed.glob("outputs/*/*/config.yaml"):
        config.write_text(config.read_text().replace(str(whole), str(killed)))
    done = run_command(*TRY, "--json", cwd=whole)
    assert done.returncode in (0, 11), done.stderr

    for event, least in (("begun", 1), ("pair", 1), ("pair", 4)):
        process = Process(*TRY, cwd=killed)
        process.wait_until(lambda event=event, least=least: count(killed, event) >= least)
        process.kill_group()
        process.wait()
    again = run_command(*TRY, "--json", cwd=killed)
    one, other = json.loads(done.stdout), json.loads(again.stdout)
    for key in ("verdict", "pairs", "interval", "try", "tries", "level"):
        assert other[key] == one[key], key
    assert [each["event"] for each in events(killed)] == [each["event"] for each in events(whole)]
