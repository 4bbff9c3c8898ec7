"""docs/06 is true: its commands print what they show, and its fragments run, laid over `tutorial/config.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

import lighter
from tests import test_docs
from tests.test_docs import ROOT, SHORT, blocks, run_console, write_files

PAGE = ROOT / "docs/06-lightning.md"
FRAGMENTS = [block for block in blocks(PAGE) if block.language == "yaml" and not block.file]

desk = test_docs.desk


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"line-{block.line}")
def test_fragments_run(block, desk):
    if "TensorBoardLogger" in block.text:
        pytest.importorskip("tensorboard")
    write_files(PAGE, desk)
    Path("fragment.yaml").write_text(block.text, encoding="utf-8")
    inputs = ["tutorial/config.yaml", "=trainer::callbacks=[]", "fragment.yaml", *SHORT]
    lighter.Runner().run("fit", inputs)


def test_fragments_were_found():
    assert len(FRAGMENTS) >= 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*upcoming version of PyTorch Lightning")
def test_the_commands_run(desk):
    write_files(PAGE, desk)
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(consoles) >= 4
    for block in consoles:
        run_console(block)
