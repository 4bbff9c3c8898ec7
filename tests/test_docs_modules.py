"""docs/04 is true: its commands print what they show, and its fragments run, laid over `digits/forward.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import lighter
from tests import test_docs
from tests.test_docs import ROOT, SHORT, blocks, run_command, run_console, write_files

PAGE = ROOT / "docs/04-modules.md"
FRAGMENTS = [block for block in blocks(PAGE) if block.language == "yaml" and not block.file]

desk = test_docs.desk


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"line-{block.line}")
def test_fragments_run(block, desk):
    write_files(PAGE, desk)
    Path("fragment.yaml").write_text(block.text, encoding="utf-8")
    torch.save(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).state_dict(), "pretrained.ckpt")
    lighter.Runner().run("fit", ["digits/forward.yaml", "fragment.yaml", *SHORT])


def test_fragments_were_found():
    assert len(FRAGMENTS) >= 6


@pytest.mark.slow
def test_every_rung_comes_to_the_same(desk):
    write_files(PAGE, desk)
    shown = "\n".join(block.text for block in blocks(PAGE) if block.language == "console")
    commands = re.findall(r"^\$ (lighter .*)\n\.\.\.\n(\S+) +(\S+)$", shown, re.MULTILINE)
    assert len(commands) >= 5
    for command, name, value in commands:
        code, output = run_command(command)
        assert code == 0, output
        assert re.search(rf"^{re.escape(name)} +{re.escape(value)}$", output, re.MULTILINE), output


@pytest.mark.slow
def test_prediction_tasks_do_what_is_shown(desk):
    write_files(PAGE, desk)
    [block] = [block for block in blocks(PAGE) if block.language == "console" and "lighter predict" in block.text]
    run_console(block)
    assert len(list(Path().glob("outputs/*/*/predictions/*/rank-0.*"))) == 2
