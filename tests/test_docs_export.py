"""docs/12 is true: its commands run in their order, and what they write is loaded as it says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from lighter.cli import cli
from lighter.exporting.differences import TOLERANCES
from lighter.exporting.folder import FACTS
from tests import test_docs
from tests.test_docs import QUICKSTART, ROOT, blocks, run_console, write_files

PAGE = ROOT / "docs/12-export.md"
TEXT = PAGE.read_text(encoding="utf-8")

desk = test_docs.desk


@pytest.mark.long
def test_the_commands_of_the_page_run(desk, monkeypatch):
    write_files(QUICKSTART, desk)
    [console] = [block for block in blocks(PAGE) if block.language == "console"]
    run_console(console)
    [snippet] = [block.text for block in blocks(PAGE) if block.language == "python"]
    monkeypatch.syspath_prepend(str(desk / "digits-onnx"))
    names = {"images": np.zeros((7, 64), dtype=np.float32)}
    exec(snippet, names)
    sys.modules.pop("load")
    assert names["outputs"]["output"].shape == (7, 10)
    facts = json.loads(Path("digits-onnx", FACTS).read_text())
    listed = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", TEXT.partition("| key of `export.json` |")[2], re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"\w+", cell)} == set(facts)


def test_the_options_are_those_of_the_command():
    table = TEXT.partition("| option | meaning |")[2].partition("\n\n")[0]
    options = {option for parameter in cli.commands["export"].commands["pt2"].params for option in parameter.opts}
    shown = {name.replace("-", "_") for name in re.findall(r"`--([a-z-]+)", table)}
    shared = {"traceback", "dir"}
    assert shown == {name.removeprefix("--") for name in options if name.startswith("--")} - shared


def test_the_tolerances_are_those_of_the_code():
    values = {str(dtype).removeprefix("torch."): tolerance for dtype, tolerance in TOLERANCES.items()}
    assert (values["float32"], values["float64"], values["float16"], values["bfloat16"]) == (1e-4, 1e-9, 1e-2, 5e-2)
    assert "| in float64, float16, bfloat16 | 1e-9, 1e-2, 5e-2, likewise |" in TEXT
