"""docs/15 is true of `lighter try` and `lighter mcp`: commands, figures, options, and what is frozen."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.tries.outcome import EXIT_CODES
from tests import test_docs
from tests.agents.test_server import TOOLS
from tests.test_docs import QUICKSTART, ROOT, blocks, write_files
from tests.tries.simulation import pairs_needed, simulate

PAGE = ROOT / "docs/15-programs-and-agents.md"
TEXT = PAGE.read_text(encoding="utf-8").partition("## Tools for agents")[2]
LINE = PAGE.read_text(encoding="utf-8").partition("## Tools for agents")[0].count("\n")
ROWS = {
    "normal": "normal",
    "exponential": "skewed",
    "-lognormal": "skewed the other way",
    "Student's t, 2 degrees of freedom": "heavy tails",
    "accuracy of 0.9 on 10 samples": "accuracy on 10",
}

desk = test_docs.desk


@pytest.mark.long
def test_commands(desk):
    write_files(QUICKSTART, desk)
    consoles = [block.text for block in blocks(PAGE) if block.language == "console" and block.line > LINE]
    commands = [found for text in consoles for found in re.findall(r"\$ lighter (.*)\n((?:(?!\$ ).*\n?)*)", text)]
    assert len(commands) == 3
    for command, shown in commands:
        done = CliRunner().invoke(cli, shlex.split(command))
        said, expected = (_without_numbers(text) for text in (done.output, shown))
        if "is refused" in expected:
            assert (done.exit_code, said.strip()) == (2, expected.strip())
        else:
            assert done.exit_code == 0, done.output
            assert shown.startswith("...") or expected.strip() in said, said


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "0", text)


def test_tools_and_options_are_those_that_there_are():
    named = {name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert set(TOOLS) <= named
    [lines] = [block.text for block in blocks(PAGE) if block.language == "json" and block.line > LINE]
    arguments = json.loads(lines)["mcpServers"]["lighter"]["args"]
    options = {option for each in cli.commands[arguments[0]].params for option in each.opts}
    assert {word for word in arguments if word.startswith("--")} <= options


@pytest.mark.parametrize("verdict", EXIT_CODES)
def test_exit_codes(verdict):
    assert f"| `{verdict}` | {EXIT_CODES[verdict]} |" in TEXT


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS)
def test_simulated_ledgers(row):
    kept = np.minimum(simulate(ROWS[row], 2000, 100), 6)
    none, some, more = (int(np.sum(each)) for each in (kept == 0, (kept > 0) & (kept < 6), kept == 6))
    assert f"| {row} | {none:,} | {some} | {more} |" in TEXT


@pytest.mark.long
@pytest.mark.parametrize("effect", ["1", "2", "3"])
def test_effects_that_are_found(effect):
    share, pairs = pairs_needed(float(effect), 20_000)
    found, shown = re.search(rf"^\| {effect} \| ([\d.]+)% \| ([\d.]+) \|$", TEXT, re.MULTILINE).groups()
    assert float(found) == pytest.approx(100 * share, abs=0.6)
    assert float(shown) == pytest.approx(pairs, abs=0.1)
