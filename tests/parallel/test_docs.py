"""docs/13 is true as far as it is about `parallel`: its commands run, and what it shows is the example."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from lighter.parallel.settings import KEYS, STYLES
from tests.commands import run_command
from tests.test_docs import ROOT, Block, blocks, run_console
from tests.test_docs import run_command as run_in_process

PAGE = ROOT / "docs/13-scale.md"
EXAMPLE = "examples/parallel/"


def test_the_page_shows_the_example_and_all_keys() -> None:
    shown = [block.text for block in blocks(PAGE) if "parallel:\n" in block.text]
    assert len(shown) == 1
    assert shown[0] in (ROOT / EXAMPLE / "parallel.yaml").read_text(encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in (*KEYS, *STYLES))


def commands(start: str) -> Block:
    [block] = [block for block in blocks(PAGE) if block.language == "console" and block.text.startswith(start)]
    return block


@pytest.mark.long
def test_the_memory_of_the_example_is_as_shown(own_place: Path) -> None:
    (own_place / "examples").symlink_to(ROOT / "examples")
    block = commands("$ lighter summary --memory")
    printed = []

    def run(line: str) -> tuple[int, str]:
        code, output = run_in_process(line)
        printed.append(output)
        return code, output

    run_console(block, run)
    shown = block.text.partition("\n")[2].partition("$ ")[0]
    assert printed[0].split() == shown.split()


def last_loss(file: Path) -> float:
    rows = [*csv.DictReader(file.read_text(encoding="utf-8").splitlines())]
    return float(rows[-1]["train/loss/epoch"])


@pytest.mark.long
def test_the_commands_of_the_page_run_and_what_several_processes_trained_is_exported_by_one(own_place: Path) -> None:
    (own_place / "examples").symlink_to(ROOT / "examples")

    def run_as_a_user(line: str) -> tuple[int, str]:
        done = run_command(*shlex.split(line), environment={"CUDA_VISIBLE_DEVICES": ""})
        return done.returncode, done.stdout + done.stderr

    block = commands("$ lighter fit")
    run_console(block, run_as_a_user)
    folders = sorted(own_place.glob("outputs/*/*"))
    assert [folder.name.split("-")[-1] for folder in folders] == ["gpt", "parallel"]
    # both shuffle, one process in another order than two
    losses = [last_loss(folder / "metrics.csv") for folder in folders]
    assert losses[0] == pytest.approx(losses[1], abs=0.1)
    assert losses[0] < 4.5

    assert (folders[1] / "checkpoints/last.ckpt").is_dir()
    code, output = run_as_a_user(f"lighter export pt2 {folders[1]}")
    assert code == 0, output
    exported = json.loads((folders[1] / "export/last-pt2/export.json").read_text())
    assert exported["checkpoint"]["step"] == 20
    assert exported["verification"]["calls"] > 0
