"""The docs are true: their links lead somewhere, their files and fragments run, their commands print what they show.

How a page is read:

- a fenced block whose first line is `# file: NAME` is a whole file, and one with `# part: NAME` a piece of others;
  both are written into the page's folder, and a whole config must be read without a problem;
- any other `yaml` block is a fragment: it must run when it is laid over `digits.yaml` of the quickstart, an optimizer,
  scheduler, network or metrics in it taking the place of those there; `# -> repr` beside a key of `vars` is its value;
- a `console` block holds `$ lighter ...` commands, which are run in order. The first word of every line shown below a
  command is in its output; where the command fails, the output is exactly what is shown.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import lighter
from lighter.cli import cli
from lighter.config import read
from tests.slow import one_in

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
QUICKSTART, CONFIGURATION = ROOT / "docs/01-quickstart.md", ROOT / "docs/02-configuration.md"
REPLACED = {"optimizer", "scheduler", "network", "train_metrics", "val_metrics", "test_metrics"}
SHORT = ["trainer::max_epochs=1", "trainer::limit_train_batches=2", "trainer::limit_val_batches=1"]


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that the block is, or a part of."""
        match = re.match(r"# (?:file|part): (\S+)\n", self.text)
        return match[1] if match else None

    @property
    def is_whole(self) -> bool:
        """Whether the block is a file that stands on its own."""
        return self.text.startswith("# file: ")


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def write_files(page: Path, folder: Path) -> list[str]:
    written = [block for block in blocks(page) if block.file]
    for block in written:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    return [block.file for block in written if block.is_whole]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory, whose modules are forgotten afterwards. Torch runs on one thread."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LIGHTER_PROJECT", raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("digits", "gan", "parts", "project"):
            del sys.modules[name]


def run_command(line: str) -> tuple[int, str]:
    """Exit code and output, both streams, of a `lighter` command."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), pytest.raises(SystemExit) as end:
        cli(shlex.split(line.removeprefix("lighter ")), prog_name="lighter")
    return int(end.value.code or 0), output.getvalue()


def run_console(block: Block, run: Callable[[str], tuple[int, str]] = run_command) -> None:
    """Run the commands of a block, in some way, and compare their output with what it shows."""
    commands = re.findall(r"^\$ (lighter .*)\n((?:(?!\$ ).*\n?)*)", block.text, re.MULTILINE)
    assert commands, f"no command in the block at line {block.line}"
    for command, shown in commands:
        code, output = run(command)
        if re.search(r"has \d+ problem", shown):
            assert (code, output.strip()) == (2, shown.strip())
            continue
        assert code == 0, f"{command}\n{output}"
        for line in shown.splitlines():
            first = line.split()[0] if line.split() else ""
            assert first in ("...", "") or first in output, f"`{first}` is not in the output of {command}:\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), (
                f"{page.name} links to {target}; there is {', '.join(sorted(anchors(path)))}"
            )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_and_their_links_were_found():
    names = {page.name for page in PAGES}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "01-quickstart.md", "02-configuration.md"} <= names
    links = re.findall(r"\]\((?![a-z]+:)[^)\s]+\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) >= 5


@pytest.mark.parametrize("page", [page for page in PAGES if "# file: " in page.read_text()], ids=lambda page: page.name)
def test_whole_configs_are_read(page, desk):
    write_files(QUICKSTART, desk)
    configs = [name for name in write_files(page, desk) if name.endswith(".yaml")]
    assert configs
    for name in configs:
        merged = read([name]).merged
        assert [merged.child(section) is not None for section in ("model", "system")].count(True) == 1


@pytest.mark.slow
def test_the_quickstart_does_what_it_says(desk, capsys):
    write_files(QUICKSTART, desk)
    consoles = [block for block in blocks(QUICKSTART) if block.language == "console"]
    assert len(consoles) >= 5
    for block in consoles:
        run_console(block)
    capsys.readouterr()
    runpy.run_path("curve.py", run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 3, "the newest run that trained has three epochs"
    runpy.run_path("sweep.py", run_name="__main__")
    assert "0.01 0.9" in capsys.readouterr().out
    runpy.run_path("load.py", run_name="__main__")
    assert capsys.readouterr().out.startswith("Classifier tensor([")


@pytest.mark.slow
def test_the_readme_does_what_it_says(desk):
    readme = ROOT / "README.md"
    write_files(QUICKSTART, desk)
    assert [name for name in write_files(readme, desk) if name.endswith(".yaml")]
    consoles = [block for block in blocks(readme) if block.language == "console"]
    assert consoles
    for block in consoles:
        run_console(block)


FRAGMENTS = [block for block in blocks(CONFIGURATION) if block.language == "yaml" and not block.file]


@pytest.mark.parametrize("block", one_in(4, FRAGMENTS), ids=lambda block: f"line-{block.line}")
def test_fragments_run(block, desk):
    write_files(QUICKSTART, desk)
    write_files(CONFIGURATION, desk)
    Path("fragment.yaml").write_text(block.text, encoding="utf-8")
    inputs: list[Any] = [without_replaced(read(["digits.yaml"]).merged.plain(), block), "fragment.yaml", *SHORT]
    expected = dict(re.findall(r"^  (\w+): .*# -> (.+)$", block.text, re.MULTILINE))
    if expected:
        values = read(inputs).objects().get("vars")
        assert {key: repr(values[key]) for key in expected} == expected
    assert lighter.Runner().run("fit", inputs) is None


def without_replaced(config: dict[str, Any], block: Block) -> dict[str, Any]:
    """A config without those arguments of its model that a fragment defines anew."""
    new = REPLACED & set(re.findall(r"^  (\w+):", block.text, re.MULTILINE))
    return {**config, "model": {key: value for key, value in config["model"].items() if key not in new}}


def test_fragments_were_found():
    assert len(FRAGMENTS) >= 12
    assert sum("# -> " in block.text for block in FRAGMENTS) >= 4


@pytest.mark.slow
def test_the_other_files_of_the_configuration_page_run(desk, capsys):
    write_files(QUICKSTART, desk)
    files = write_files(CONFIGURATION, desk)
    configs = [name for name in files if name.endswith(".yaml")]
    assert {"gan.yaml", "sgd.yaml"} <= set(configs)
    for config in configs:
        assert lighter.Runner().run("fit", [config, *SHORT]) is None
    for script in ("plain.py", "run.py", "parts.py"):
        runpy.run_path(script, run_name="__main__")
    assert "test/metrics/accuracy/epoch" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_of_the_configuration_page_run(desk):
    write_files(QUICKSTART, desk)
    write_files(CONFIGURATION, desk)
    consoles = [block for block in blocks(CONFIGURATION) if block.language == "console"]
    assert len(consoles) >= 2
    for block in consoles:
        run_console(block)
