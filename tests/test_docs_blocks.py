"""Every fenced block of the docs is run by a test, or named here with the reason why not.

A block is taken as run if a test names its page and reads blocks of its language, or writes its files. What a program
prints (`text`, or no language) is no code: the tests of that program know it.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import test_docs
from tests.test_docs import PAGES, QUICKSTART, ROOT, Block, blocks, run_command, run_console, write_files

TESTS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]
# `tests/test_docs.py` reads these as a whole.
WHOLE = {"01-quickstart.md": ("console", "python", "yaml"), "02-configuration.md": ("console", "python", "yaml")}
WHOLE["README.md"] = ("console", "yaml")
SPEED, RELIABILITY, RESULTS = (ROOT / f"docs/{name}.md" for name in ("07-speed", "09-reliability", "11-results"))

# By page and the beginning of its first line: the reason why it is not run.
NOT_RUN = {
    ("ARCHITECTURE.md", "errors modes"): "the layers, which tests/test_architecture.py reads",
    ("CONTRIBUTING.md", "make test"): "runs all tests",
    ("README.md", "make demo"): "makes an environment",
    ("SECURITY.md", "lighter fit config.yaml --safe"): "tests/cli/ and tests/config/safe/ run the option",
    ("SECURITY.md", "import lighter"): "needs an untrusted config; tests/engine/ run the same call",
    ("01-quickstart.md", "git clone"): "needs a network",
    ("01-quickstart.md", "source <(lighter completion"): "tests/cli/test_completion.py runs it in each shell",
    ("07-speed.md", "trainer.fit(module)"): "tests/trainer/loops/ compare the reasons",
    ("07-speed.md", "make bench"): "measures for an hour",
    ("07-speed.md", "git clone"): "needs a network",
    ("08-runs.md", "for fold in"): "needs a table of the user's; docs/02 runs the same section",
    ("09-reliability.md", "lighter fit digits.yaml        # killed"): "tests/faults/ kill it",
    ("09-reliability.md", "#!/bin/bash"): "needs SLURM: tests/experiments/executors/ run it there",
    ("09-reliability.md", "# part: reliability.yaml"): "a piece: tests/trainer/resume/ have such streams",
    ("11-results.md", "for member in"): "needs the folder of one experiment",
    ("11-results.md", "lighter compare ours=ours-cifar"): "needs runs of two tasks: tests/results/test_tasks.py",
    ("11-results.md", "# part: a validation step"): "a piece of a class: tests/results/ have the whole",
    ("13-scale.md", "vars: {batch: 16}"): "a part of examples/parallel/parallel.yaml: the test below compares",
    ("14-editor-and-notebook.md", "vim.api"): "tests/editor/test_neovim.py runs it in Neovim",
}

desk = test_docs.desk


def code() -> Iterator[tuple[Path, Block]]:
    for page in PAGES:
        yield from ((page, block) for block in blocks(page) if block.language not in ("", "text"))


def is_run(page: Path, block: Block) -> bool:
    if block.language in WHOLE.get(page.name, ()):
        return True
    reading = [text for text in TESTS if " blocks(" in text]
    tests = [text for text in reading if f"{page.parent.name}/{page.name}" in text or f'"{page.stem}"' in text]
    reads = re.compile(r"write_files\(\w*PAGE" if block.file else f'"{block.language}"')
    return any(reads.search(text) for text in tests)


def reasons(page: Path, block: Block) -> list[str]:
    return [why for (name, line), why in NOT_RUN.items() if name == page.name and block.text.startswith(line)]


def test_every_block_is_run_or_named() -> None:
    every = [*code()]
    assert len(every) > 150
    unread = [
        f"{page.name}:{block.line}: ```{block.language}"
        for page, block in every
        if not is_run(page, block) and not reasons(page, block)
    ]
    assert unread == []


def test_the_section_parallel_of_the_page_is_that_of_the_example() -> None:
    [shown] = [block for block in blocks(ROOT / "docs/13-scale.md") if block.text.startswith("vars: {batch: 16}")]
    assert shown.text.strip() in (ROOT / "examples/parallel/parallel.yaml").read_text(encoding="utf-8")


def test_every_reason_is_of_a_block() -> None:
    there = {(page.name, line) for page, block in code() for name, line in NOT_RUN if block.text.startswith(line)}
    assert NOT_RUN.keys() <= there


FRAGMENTS = [
    block for page in (SPEED, RELIABILITY) for block in blocks(page) if block.language == "yaml" and not block.file
]


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"line-{block.line}")
def test_fragments_of_speed_and_reliability_are_configs(block: Block, desk: Path) -> None:
    write_files(QUICKSTART, desk)
    (desk / "fragment.yaml").write_text(block.text, encoding="utf-8")
    assert run_command("lighter check digits.yaml fragment.yaml") == (0, "No problems.\n")


@pytest.mark.long
def test_checkpoints_are_verified_and_exported(desk: Path) -> None:
    pytest.importorskip("safetensors")
    write_files(QUICKSTART, desk)
    assert run_command("lighter fit digits.yaml trainer::max_epochs=1")[0] == 0
    [export] = [block for block in blocks(RELIABILITY) if block.language == "bash" and "lighter export" in block.text]
    commands = [line.partition(" #")[0].strip() for line in export.text.splitlines()]
    run_console(export._replace(text="".join(f"$ {command}\n" for command in commands)))
    verified, loaded = [block for block in blocks(RELIABILITY) if block.language == "python"]
    [last] = desk.glob("outputs/*/*/checkpoints/last.ckpt")
    (desk / "last.ckpt").write_bytes(last.read_bytes())
    script = "from digits import Classifier\nimport lighter\nnetwork = lighter.load('last').network\n"
    (desk / "script.py").write_text(verified.text + script + loaded.text, encoding="utf-8")
    runpy.run_path("script.py")


@pytest.mark.long
def test_what_a_report_shows_is_read(desk: Path) -> None:
    write_files(QUICKSTART, desk)
    assert run_command("lighter fit digits.yaml trainer::max_epochs=1")[0] == 0
    assert run_command("lighter report last -o report.html")[0] == 0
    [script] = [block for block in blocks(RESULTS) if "lighter-report" in block.text]
    (desk / "script.py").write_text(script.text, encoding="utf-8")
    assert len(runpy.run_path("script.py")["data"]["runs"]) == 1
