"""Records that are not what they should be: one line names such a run, and all others are as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from lighter.runs import index
from lighter.runs.index import INDEX
from tests.runs.jobs import make_run
from tests.slow import mostly_slow

GOOD, BROKEN = "2026-01-02/10-00-00-digits", "2026-01-03/10-00-00-digits"
FIELDS = (
    *("id", "name", "stage", "status", "host", "pid", "process_started", "started", "ended", "seconds", "safe"),
    *("arguments", "inputs", "source", "software", "hardware", "trainer", "data", "loggers", "checkpoints", "metrics"),
    *("progress", "starts", "error", "command", "cwd", "overrides", "reproduces", "checkpoint"),
)
VALUES: tuple[Any, ...] = (
    7,
    -1.5,
    True,
    "x [/red] \0",
    [],
    [1],
    ["x"],
    [[]],
    {},
    {"x": []},
    {"x": {"y": [None]}},
    None,
)
ODD_VALUES = {
    "seconds": float("nan"),
    "metrics": {"val/loss/epoch": "no number"},
    "progress": {"epoch": 1e999},
    "source": {"root": 3},
    "checkpoints": [{"score": 1}],
    "error": {"type": "E"},
    "pid": 10**300,
}
COMMANDS = (
    *(["runs", "list"], ["runs", "list", "--json"], ["runs", "best", "val/loss/epoch"], ["runs", "show", BROKEN]),
    *(["runs", "show", "last", "--json"], ["runs", "diff", GOOD, BROKEN], ["runs", "list", "--sort", "seconds"]),
    *(["runs", "tag", BROKEN, "good"], ["resume", BROKEN], ["resume", "last"], ["reproduce", BROKEN]),
    *(["predict", "--resume", f"outputs/{BROKEN}"], ["runs", "rm", BROKEN, "--yes"]),
)


def lighter(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], env={"COLUMNS": "140"})


@pytest.fixture
def record(own_place: Path) -> Path:
    make_run(own_place / "outputs", GOOD, metrics={"val/loss/epoch": 0.25})
    folder = make_run(own_place / "outputs", BROKEN)
    (folder / "config.yaml").unlink()  # whatever is not refused for its record is refused for that
    return folder / "run.json"


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _in_place(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def exchange(path: Path) -> None:
        path.unlink()
        make(path)

    return exchange


FILES = {
    "empty": _text(""),
    "cut off": _text('{"stage": "fit", "sta'),
    "a list": _text("[1, 2]"),
    "a number": _text("3"),
    "nothing in it": _text("{}"),
    "deep": _text('{"stage":"fit","status":"x","data":' + '{"a":' * 100_000 + "1" + "}" * 100_001),
    "long number": _text('{"stage":"fit","status":"x","seed":' + "9" * 6000 + "}"),
    "half a character": _text('{"stage":"\\ud800","status":"x"}'),
    "not UTF-8": lambda path: path.write_bytes(b'{"stage": "\xff"}'),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "a folder": _in_place(lambda path: path.mkdir()),
    "a FIFO": _in_place(os.mkfifo),
    "a broken link": _in_place(lambda path: path.symlink_to("nowhere")),
    "a circle of links": _in_place(lambda path: path.symlink_to("run.json")),
}


@pytest.mark.parametrize("damage", FILES.values(), ids=FILES)
def test_a_record_that_cannot_be_read(record: Path, damage: Callable[[Path], object]) -> None:
    damage(record)
    listed = lighter("runs", "list")
    assert listed.exit_code == 0, listed.output
    assert GOOD in listed.stdout
    assert BROKEN not in listed.stdout
    [line] = listed.stderr.splitlines()
    assert line.startswith(f"left out: outputs/{BROKEN}/run.json ")
    for words in COMMANDS[3:]:
        _ends_with_a_message(words)


@pytest.mark.parametrize("field", mostly_slow(FIELDS, 2))
def test_a_field_of_any_type(record: Path, field: str) -> None:
    facts = json.loads(record.read_text())
    for value in (*VALUES, *([ODD_VALUES[field]] if field in ODD_VALUES else [])):
        record.write_text(json.dumps({**facts, field: value}))
        for words in COMMANDS[:8]:
            _ends_with_a_message(words)
        assert GOOD in lighter("runs", "list").stdout
    for words in COMMANDS[8:]:
        _ends_with_a_message(words)


def _ends_with_a_message(words: list[str]) -> None:
    result = lighter(*words)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in (0, 2, 3, 4), (words, result.output)
    assert "Traceback" not in result.output
    if "--json" in words and result.exit_code == 0:
        json.loads(result.stdout)


@pytest.mark.parametrize("name", ["run.json", "tags.json", "metrics.csv", "config.yaml"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_other_files_are_odd(record: Path, name: str, make: Callable[[Path], object]) -> None:
    path = record.with_name(name)
    path.unlink(missing_ok=True)
    make(path)
    for words in COMMANDS[:8]:
        if words[1] != "tag":
            _ends_with_a_message(words)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", '{"format": "1", "runs": 3}', '{"x": {"modified": 1, "row": [1]}}', "\0", "{" * 100_000, None],
)
def test_an_index_of_any_shape_is_made_again(record: Path, content: str | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "_SETTLED", -1.0)
    lighter("runs", "list")
    file = record.parents[2] / INDEX
    whole = file.read_text()
    head, _, rows = whole.partition("\n")
    texts = (
        [whole.replace("digits", "other"), f"{head}\n[{rows}]"] if content is None else [content, f"{head}\n{content}"]
    )
    for text in texts:
        file.write_text(text)
        assert GOOD in lighter("runs", "list").stdout
        assert file.read_text() == whole


def test_an_index_that_is_no_file(record: Path) -> None:
    file = record.parents[2] / INDEX
    for make in (os.mkfifo, os.mkdir):
        make(file)
        assert GOOD in lighter("runs", "list").stdout
        file.rmdir() if file.is_dir() else file.unlink()


def test_texts_that_look_like_markup(record: Path) -> None:
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "error": {"type": "E", "message": "[/INST] is [bold]"}}))
    assert "E: [/INST] is [bold]" in lighter("runs", "show", "last").stdout
    assert lighter("runs", "tag", "last", "[/x]").exit_code == 0
    assert "[/x]" in lighter("runs", "list").stdout
