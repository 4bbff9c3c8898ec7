"""What commands print at several widths, in a pipe, on a dumb terminal and with NO_COLOR: of recorded runs."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from lighter.cli import cli
from lighter.engine.layers import Layer, Summary
from tests.cli.test_json import commands
from tests.experiments.jobs import make_experiment
from tests.results.jobs import BASE, OURS, make_fits

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NAME = "a-name-that-is-as-long-as-those-of-sweeps"
WIDTHS = (80, 120, 200)
COMMANDS = [
    "runs list",
    "runs list --metric trainer::max_epochs",
    "runs show last",
    f"runs diff 2026-11-22/10-00-00-base 2026-11-22/12-00-00-{NAME}",
    "runs best val/loss/epoch",
    "experiment status",
    "experiment list",
    "compare base ours",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recorded")
    for name, values, hour in (("base", BASE, 10), ("ours", OURS, 11), (NAME, OURS, 12)):
        make_fits(made / "outputs", name, values, hour=hour)
    make_experiment(made / "outputs")
    return made


@pytest.fixture
def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return folder


class Watched(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(command: str, *, width: int | None = None) -> str:
    """Return what a command prints on a terminal of a width, or in a pipe."""
    stdout = io.StringIO() if width is None else Watched()
    with redirect_stdout(stdout), pytest.MonkeyPatch.context() as patch:
        if width is not None:
            patch.setenv("COLUMNS", str(width))
        cli.main(command.split(" "), prog_name="lighter", standalone_mode=False)
    return stdout.getvalue()


def widest(text: str) -> int:
    return max(map(cell_len, ESCAPE.sub("", text).splitlines()))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_the_terminal(recorded: Path, command: str) -> None:
    for width in WIDTHS:
        text = printed(command, width=width)
        assert widest(text) <= width
        assert ESCAPE.search(text), "a terminal shows headings in bold"


@pytest.mark.parametrize("command", COMMANDS)
def test_ids_and_numbers_are_whole(recorded: Path, command: str) -> None:
    """In a terminal of 80 columns there is no id that a pipe does not have, whole."""
    ids = r"(?:\d{4}-\d\d-\d\d/)?\d\d-\d\d-\d\d-[\w-]+"
    narrow = ESCAPE.sub("", printed(command, width=80))
    assert set(re.findall(ids, narrow)) <= set(re.findall(ids, printed(command)))
    numbers = r"(?<![\w.-])\d+\.\d+(?![\w.-])"
    assert set(re.findall(numbers, narrow)) <= set(re.findall(numbers, printed(command)))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_escape_codes_where_they_are_not_wanted(
    recorded: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = printed(command)
    assert not ESCAPE.search(whole), "in a pipe"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ESCAPE.search(printed(command, width=80))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not ESCAPE.search(printed(command, width=80))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESCAPE.sub("", printed(command)) == whole, "a pipe has whole lines, in colours too"


def test_a_summary_leaves_out_columns(recorded: Path) -> None:
    from lighter.cli.summary import _show

    layers = [
        Layer(f"network.{n}", "Convolution" * 3, 10**9, 10**9, 4 * 10**9, 1, 10**12, [(32, 64, 8, 8)]) for n in (0, 1)
    ]
    result = Summary(layers[0], layers, [(32, 1, 8, 8)], "cpu")
    for width in WIDTHS:
        with redirect_stdout(Watched()) as stdout, pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            _show(result, 0)
        assert widest(stdout.getvalue()) <= width
        assert "1,000,000,000" in stdout.getvalue()
    with redirect_stdout(io.StringIO()) as stdout:
        _show(result, 0)
    assert "Convolution" * 3 in stdout.getvalue()


def groups(group: click.Group, *above: str) -> list[list[str]]:
    inner = [groups(each, *above, name) for name, each in group.commands.items() if isinstance(each, click.Group)]
    return [[*above], *(words for each in inner for words in each)]


@pytest.mark.parametrize("words", [*groups(cli), *(name.split(".") for name, _ in commands(cli))], ids=" ".join)
def test_help_fits_80_columns(words: list[str]) -> None:
    """Of a group, each command has its whole first sentence."""
    for width in (80, 200):
        shown = CliRunner().invoke(cli, [*words, "--help"], env={"COLUMNS": str(width)}).stdout
        assert widest(shown) <= 80
    if words in groups(cli):
        assert "...\n" not in shown.partition("--help")[2]
