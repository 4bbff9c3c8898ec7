"""Tables that are too wide: what is cut, what is left out, and what never is."""

from __future__ import annotations

import io
import random
import string

import pytest
from rich.console import Console

from lighter.display import terminal
from lighter.display.cutting import cut_in_the_middle, printable, thinned, width_of
from lighter.display.table import Cell, Column, Line, Piece, Table, pairs

IDENTITY = "2026-11-22/14-03-55-digits"


def shown(*pieces: Piece | None, columns: int | None) -> list[str]:
    return [line.plain for line in terminal.lines(pieces, columns)]


def table(**ranks: int) -> Table:
    names = ("run", "val/loss", "train/metrics/accuracy", "time")
    columns = [Column(name, is_number=name != "run", rank=ranks.get(name.rpartition("/")[2], 0)) for name in names]
    return Table(columns, [[IDENTITY, "0.1234", "0.98765", "1h 02m"], [IDENTITY, "0.5", "0.9", "3s"]])


def test_as_wide_as_it_is() -> None:
    assert shown(table(), columns=None) == [
        "run                         val/loss  train/metrics/accuracy    time",
        "2026-11-22/14-03-55-digits    0.1234                 0.98765  1h 02m",
        "2026-11-22/14-03-55-digits       0.5                     0.9      3s",
    ]
    assert shown(table(), columns=68) == shown(table(), columns=None)


def test_heads_are_broken_first() -> None:
    assert shown(table(time=1), columns=60) == [
        "                                      train/",
        "                              val/  metrics/",
        "run                           loss  accuracy    time",
        "2026-11-22/14-03-55-digits  0.1234   0.98765  1h 02m",
        "2026-11-22/14-03-55-digits     0.5       0.9      3s",
    ]


def test_then_columns_are_left_out_by_their_rank() -> None:
    lines = shown(table(time=1, accuracy=2), columns=50)
    assert lines[1].split() == [IDENTITY, "0.1234", "1h", "02m"]
    assert lines[-1] == "left out: train/metrics/accuracy (a wider terminal has them)"
    lines = shown(table(time=1, accuracy=2), columns=36)
    assert lines[1].split() == [IDENTITY, "0.1234"]
    assert lines[-1].startswith("left out: time, train/metrics/accuracy")


def test_numbers_and_ids_stay_whole_in_any_width() -> None:
    for columns in range(1, 80):
        words = " ".join(shown(table(time=1, accuracy=2), columns=columns))
        assert IDENTITY in words
        assert "0.1234" in words


def test_texts_are_cut_in_the_middle_before_anything_is_left_out() -> None:
    long = Table([Column("a", least=10), Column("b", is_number=True, rank=1)], [["x" * 40, "1.0"], ["short", "2.0"]])
    lines = shown(long, columns=30)
    assert lines[1] == f"{'x' * 11}...{'x' * 11}  1.0"
    assert lines[2] == f"short{' ' * 22}2.0"


def test_random_tables_fit_wherever_they_can() -> None:
    generator = random.Random(0)
    for _ in range(200):
        columns = [Column("id"), *(Column("n" * generator.randint(1, 9), least=6, rank=at) for at in range(1, 5))]
        row = [
            "i" * 8,
            *("".join(generator.choices(string.ascii_letters, k=generator.randint(0, 30))) for _ in range(4)),
        ]
        width = generator.randint(8, 100)
        lines = shown(Table(columns, [row]), columns=width)
        assert max(map(len, lines[:2])) <= width, (width, lines)
        assert lines[1].startswith("i" * 8)


def test_pairs_wrap_between_words_and_leave_commands_whole() -> None:
    path = "outputs/" + "deep/" * 12 + "config.yaml"
    lines = shown(pairs([("command", f"lighter fit {path} --ckpt_path best"), ("empty", "")]), columns=40)
    assert lines == ["command  lighter fit", f"         {path}", "         --ckpt_path best"]
    assert shown(Line(f"lighter test {path} --x", is_command=True), columns=40) == [f"lighter test {path} --x"]


def test_a_cell_of_several_lines_and_headings() -> None:
    lines = shown(Table([Column("a"), Column("b")], [[Cell("section", "bold")], ["1", "x\ny"]]), columns=None)
    assert lines == ["a  b", "section", "1  x", "   y"]


def test_letters_that_are_two_columns_wide() -> None:
    lines = shown(Table([Column("a"), Column("b")], [["漢字", "1"], ["ab", "2"]]), columns=None)
    assert lines[1:] == ["漢字  1", "ab    2"]
    assert width_of("漢字") == 4
    assert width_of(cut_in_the_middle("漢字漢字漢字", 7)) <= 7


@pytest.mark.parametrize("width", range(12))
def test_what_is_cut_is_no_wider(width: int) -> None:
    assert len(cut_in_the_middle("abcdefghijkl", width)) <= width
    assert len(thinned("▁▂▃▄▅▆▇█", width)) <= max(width, 1)


def test_cut_texts_keep_both_ends() -> None:
    assert cut_in_the_middle("2026-11-22/14-03-55-digits", 15) == "2026-1...digits"
    assert thinned("▁▂▃▄▅▆▇█", 3) == "▁▅█"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\u202e") == "a\\x1b[31mb\\u202e"
    lines = shown(Table([Column("a\x1b")], [["\x1b[2J"]]), Line("\x07"), columns=None)
    assert all(line.isprintable() for line in lines)


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal.width(Console(file=io.StringIO(), width=80)) is None
    assert terminal.width(Console(file=io.StringIO(), width=80, force_terminal=True)) == 80
    monkeypatch.setenv("COLUMNS", "50")
    assert terminal.width(Console(file=io.StringIO())) == 50
    text = io.StringIO()
    terminal.show(Table([Column("x")], [["y " * 200]]), console=Console(file=text, width=80))
    assert len(text.getvalue().splitlines()) == 2
