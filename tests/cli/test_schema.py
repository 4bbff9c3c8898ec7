"""`lighter schema`: what it prints and writes, and what it does not write over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.config import corpus
from tests.test_docs import run_command

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture(autouse=True)
def place(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LIGHTER_PROJECT", raising=False)
    shutil.copy(corpus.HERE / "bad/good.yaml", own_place)
    Path("config.yaml").write_text("_base_: good.yaml\ntrainer: {max_epochs: 3}\n", encoding="utf-8")
    return own_place


def test_it_prints_the_schema():
    code, output = run_command("lighter schema good.yaml")
    assert code == 0
    assert output.count("\n") == 1
    assert json.loads(output)["$schema"] == DIALECT


def test_it_writes_the_schema_and_says_the_line_of_each_file():
    code, output = run_command("lighter schema config.yaml -o schemas/config.json")
    assert (code, output) == (
        0,
        "schemas/config.json: for editors, the first line of good.yaml is\n"
        "# yaml-language-server: $schema=schemas/config.json\n"
        "schemas/config.json: for editors, the first line of config.yaml is\n"
        "# yaml-language-server: $schema=schemas/config.json\n",
    )
    assert json.loads(Path("schemas/config.json").read_text())["$schema"] == DIALECT
    assert run_command("lighter schema good.yaml -o schemas/config.json")[0] == 0, "it is replaced by a newer one"
    assert os.listdir("schemas") == ["config.json"]


def test_the_line_is_relative_to_the_file():
    Path("configs").mkdir()
    shutil.move("good.yaml", "configs/good.yaml")
    assert run_command("lighter schema configs/good.yaml -o out/s.json")[1].splitlines()[1:] == [
        "# yaml-language-server: $schema=../out/s.json"
    ]


@pytest.mark.parametrize("name", ["config.yaml", "notes.json"])
def test_no_other_file_is_written_over(name):
    Path("notes.json").write_text("{}")
    before = Path(name).read_text()
    code, output = run_command(f"lighter schema good.yaml -o {name}")
    said = f"{name}: this file is no schema that `lighter schema` wrote: it is not replaced\n"
    assert (code, output, Path(name).read_text()) == (2, said, before)


def test_a_file_that_has_the_words_is_not_written_over():
    text = "# Written by `lighter schema`.\nmodel: {}\n"
    Path("mine.yaml").write_text(text)
    assert run_command("lighter schema good.yaml -o mine.yaml")[0] == 2
    assert Path("mine.yaml").read_text() == text


def test_a_link_is_written_through():
    Path("link.json").symlink_to("there/real.json")
    for _ in range(2):
        assert run_command("lighter schema good.yaml -o link.json")[0] == 0
    assert Path("link.json").is_symlink()
    assert json.loads(Path("there/real.json").read_text())["$schema"] == DIALECT
    os.mkfifo("pipe.json")
    assert run_command("lighter schema good.yaml -o pipe.json")[0] == 2


@pytest.mark.parametrize("command", ["schema good.yaml", "convert good.yaml --from lighter-0.1"])
def test_a_file_that_cannot_be_written(command):
    Path("file").write_text("")
    code, output = run_command(f"lighter {command} -o file/s.json")
    assert (code, "file/s.json cannot be written: Not a directory" in " ".join(output.split())) == (2, True), output
    assert run_command(f"lighter {command} -o ''")[0] == 2
    assert run_command(f"lighter {command} -o -")[1].count(DIALECT if "schema" in command else "lighter-0.1") > 0
    assert not Path("-").exists()


def test_of_a_config_with_problems_there_is_what_can_be_had():
    Path("config.yaml").write_text("_base_: good.yaml\ntrianer: {}\nvars: {a: {_target_: nowhere.Thing}}\n")
    code, output = run_command("lighter schema config.yaml -o s.json")
    assert code == 0
    assert output.startswith("The config has 2 problems, which `lighter check` shows.")
    assert "torch.optim.Adam" in json.loads(Path("s.json").read_text())["$defs"]


def test_a_config_that_cannot_be_read_has_no_schema():
    Path("config.yaml").write_text("model: [", encoding="utf-8")
    code, output = run_command("lighter schema config.yaml -o s.json")
    assert code == 2
    assert output.startswith("The config has 1 problem.\n\nconfig.yaml:1:")
    assert not Path("s.json").exists()


def test_in_safe_mode_only_what_is_permitted_is_imported():
    Path("mine.py").write_text("raise SystemError('imported')\n", encoding="utf-8")
    Path("config.yaml").write_text("_base_: good.yaml\nvars: {a: {_target_: mine.Thing}}\n", encoding="utf-8")
    code, output = run_command("lighter schema config.yaml -o s.json --safe")
    assert code == 2
    assert "`mine.Thing`" in output
    assert not Path("s.json").exists()
