"""docs/05-predictions.md is true: its files and fragments run, and write what they say."""

from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path

import pytest

import lighter
from tests.test_docs import QUICKSTART, ROOT, blocks, desk, run_command, run_console, write_files  # noqa: F401

PAGE = ROOT / "docs/05-predictions.md"
FRAGMENTS = [block for block in blocks(PAGE) if block.language == "yaml" and not block.file]
WRITES = {
    "TableWriter": ("table.csv", 298),
    "ParquetWriter": ("predictions.parquet", None),
    "image_2d": ("images.index.csv", 298),
    "npy": ("images.index.csv", 298),
    "Blobs": ("blobs", None),
}
SYSTEM = """system:
  _target_: lighter.System
  model: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}
  adapters: {predict: {batch: {_target_: lighter.adapters.BatchAdapter, input_accessor: 0}}}
  dataloaders:
    predict: {_target_: torch.utils.data.DataLoader, dataset: {_target_: digits.split, name: test}, batch_size: 100}
trainer: {accelerator: cpu}
"""


@pytest.fixture
def written(desk: Path) -> Path:  # noqa: F811
    write_files(QUICKSTART, desk)
    write_files(PAGE, desk)
    return desk


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"line-{block.line}")
def test_fragments_write_what_they_say(block, written: Path) -> None:
    Path("fragment.yaml").write_text(block.text)
    Path("system.yaml").write_text(SYSTEM)
    base = "system.yaml" if "TableWriter" in block.text else "digits.yaml"
    outcome = lighter.Runner().execute("predict", [base, "fragment.yaml"])
    [(name, rows)] = [made for key, made in WRITES.items() if key in block.text]
    made = outcome.folder.path / name
    assert made.exists()
    if rows is not None:
        with open(made, newline="") as file:
            assert len(list(csv.reader(file))) == rows
    assert not [path for path in outcome.folder.path.rglob("*") if re.search(r"\.partial|\.progress", path.name)]


def test_fragments_were_found() -> None:
    assert len(FRAGMENTS) == len(WRITES)


def test_commands_and_scripts(written: Path) -> None:
    predicts, refused = [block for block in blocks(PAGE) if block.language == "console"]
    run_console(predicts)
    command, _, shown = refused.text.removeprefix("$ ").partition("\n")
    code, output = run_command(command)
    assert (code, output.strip()) == (4, shown.strip())
    runpy.run_path("plain_predict.py", run_name="__main__")
    with open("plain.csv", newline="") as file:
        assert next(csv.reader(file)) == ["digit", "sure"]
