"""docs/15 is true: its commands print the JSON that it shows, and its snippets run."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from tests import test_docs
from tests.test_docs import QUICKSTART, ROOT, blocks, write_files

PAGE = ROOT / "docs/15-programs-and-agents.md"
BEFORE = "## Tools for agents"  # whose sections have tests of their own

desk = test_docs.desk


@pytest.mark.long
def test_json(desk):
    write_files(QUICKSTART, desk)
    end = PAGE.read_text(encoding="utf-8").partition(BEFORE)[0].count("\n")
    mine = [block for block in blocks(PAGE) if block.line < end]
    consoles = [block.text for block in mine if block.language == "console"]
    assert len(consoles) == 3
    for text in consoles:
        command, shown = re.fullmatch(r"\$ lighter ([^\n]*)\n(.*)", text, re.DOTALL).groups()
        done = CliRunner().invoke(cli, shlex.split(command))
        printed = done.stdout
        assert printed, done.stderr
        if "..." in shown:
            assert set(shown.splitlines()) - {" ..."} <= {*printed.splitlines()}
        else:
            assert json.loads(printed) == json.loads(shown)
    [script] = [block.text for block in mine if block.language == "python"]
    exec(script, {})
