"""docs/11 is true: its commands run in their order, its script too, and it names all that can be allowed."""

from __future__ import annotations

import runpy

import pytest

from lighter.results.doubts import KINDS
from tests import test_docs
from tests.test_docs import QUICKSTART, ROOT, blocks, run_console, write_files

PAGE = ROOT / "docs/11-results.md"

desk = test_docs.desk


@pytest.mark.long
def test_commands_and_scripts(desk, capsys):
    write_files(QUICKSTART, desk)
    write_files(PAGE, desk)
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(consoles) >= 4
    for block in consoles:
        run_console(block)
    capsys.readouterr()
    runpy.run_path("compare.py", run_name="__main__")
    verdict, first, second, run = capsys.readouterr().out.splitlines()[-4:]
    assert verdict.startswith("`fast` is better than `base`: val/loss is lower by ")
    assert [first.split()[0], second.split()[0]] == ["fast", "base"]
    assert float(run.split()[0]) < 1


def test_all_that_can_be_allowed_is_in_the_table():
    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"\n| `{kind}` |" not in text] == []
