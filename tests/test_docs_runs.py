"""docs/08 is true: its commands run in their order, and its fragment is a config."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lighter.config import read
from tests import commands, test_docs
from tests.test_docs import QUICKSTART, ROOT, blocks, run_command, run_console, write_files

PAGE = ROOT / "docs/08-runs.md"

desk = test_docs.desk


def run_as_a_user(line: str) -> tuple[int, str]:
    """Fits in processes of their own: what other tests left in this one can round otherwise than a repeat does."""
    if not line.startswith("lighter fit"):
        return run_command(line)
    done = commands.run_command(*shlex.split(line))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_commands_of_the_page_run(desk, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(desk))  # for the process of `lighter reproduce`
    monkeypatch.setenv("COLUMNS", "140")
    write_files(QUICKSTART, desk)
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(consoles) == 5
    for block in consoles:
        run_console(block, run_as_a_user)
    assert len(list(Path("outputs").glob("*/*"))) == 4


def test_the_fragment_is_a_config(desk):
    write_files(QUICKSTART, desk)
    [fragment] = [block for block in blocks(PAGE) if block.language == "yaml"]
    (desk / "fragment.yaml").write_text(fragment.text)
    assert read(["digits.yaml", "fragment.yaml"]).objects().get("vars")["tracking_token"] is None
