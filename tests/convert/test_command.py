"""`lighter convert` as a command: what it recognises, writes and refuses, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.convert.work import run

HEAD = "# Converted from a.yaml (lightning-cli).\n"
CLI = "model: {class_path: a.B}\n"
RECOGNISED = {
    "class_path": (CLI, "lightning-cli"),
    "seed_everything": ("seed_everything: 1\nmodel: {x: 1}\n", "lightning-cli"),
    "class_path with interpolation": ("model: {class_path: a.B, init_args: {x: '${trainer.y}'}}\n", "lightning-cli"),
    "defaults": ("defaults: [_self_]\nmodel: {_target_: a.B}\n", "hydra"),
    "datamodule": ("datamodule: {_target_: a.D}\nmodel: {_target_: a.B}\n", "hydra"),
    "_partial_": ("model: {_target_: a.B, o: {_target_: a.O, _partial_: true}}\n", "hydra"),
    "interpolation": ("model: {_target_: a.B, x: '${n}'}\nn: 1\n", "hydra"),
    "interpolation in a list": ("model: {_target_: a.B, x: ['${n}']}\nn: 1\n", "hydra"),
    "system": ("system: {_target_: lighter.System, model: '@vars::x'}\n", "lighter-0.0"),
    "hashes": ("system: {model: '@vars#x'}\ntrainer#max_epochs: 1\n", "lighter-0.0"),
    "_requires_": ("_requires_: $import math\nsystem: {_target_: lighter.LighterSystem}\n", "lighter-0.0"),
    "references": ("model: {_target_: a.B, x: '%vars::x'}\nvars: {x: 1}\n", "lighter-0.1"),
    "data": ("model: {_target_: a.B}\ndata: {_target_: lighter.LighterDataModule}\n", "lighter-0.1"),
}


@pytest.mark.parametrize(("text", "kind"), RECOGNISED.values(), ids=RECOGNISED)
def test_it_is_recognised(own_place: Path, text: str, kind: str) -> None:
    Path("a.yaml").write_text(text)
    assert json.loads(run("convert", "a.yaml", "--json").stdout)["from"] == kind


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("model: {_target_: a.B}\n", "lightning-cli|hydra|lighter-0.0|lighter-0.1"),
        ("model: {class_path: a.B}\nsystem: {x: '@a::b'}\n", "lightning-cli|lighter-0.0"),
    ],
)
def test_where_it_is_not_clear_it_is_asked(own_place: Path, text: str, choices: str) -> None:
    Path("a.yaml").write_text(text)
    result = run("convert", "a.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--from {choices}" in " ".join(result.stderr.split())
    assert run("convert", "a.yaml", "--from", "lighter-0.1").exit_code == 0


def test_a_file_is_written_once(own_place: Path) -> None:
    Path("a.yaml").write_text(CLI)
    printed = run("convert", "a.yaml")
    assert (printed.exit_code, printed.stdout) == (0, f"{HEAD}\nmodel:\n  _target_: a.B\n")
    assert printed.stderr.endswith("Now: lighter check OUT.yaml\n")
    assert run("convert", "a.yaml", "-o", "new/b.yaml").exit_code == 2
    assert run("convert", "a.yaml", "-o", "b.yaml").exit_code == 0
    assert Path("b.yaml").read_text() == printed.stdout
    again = run("convert", "a.yaml", "--output", "a.yaml")
    assert (again.exit_code, Path("a.yaml").read_text()) == (2, CLI)
    assert "exists already" in again.stderr


def test_json_has_no_infinity(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B, init_args: {x: .inf, y: [.nan, 1.5]}}\n")
    data = json.loads(run("convert", "a.yaml", "--json").stdout, parse_constant=lambda name: name)
    assert data["config"]["model"] == {"_target_": "a.B", "x": None, "y": [None, 1.5]}
    assert ".inf" in data["text"]


def test_json(own_place: Path) -> None:
    Path("a.yaml").write_text(f"{CLI}trainer: {{auto_lr_find: true}}\n")
    result = run("convert", "a.yaml", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 1
    assert data["config"] == {"model": {"_target_": "a.B"}, "trainer": {}}
    gap = next(gap for gap in data["gaps"] if gap["open"])
    assert gap == {
        "file": "a.yaml",
        "line": 2,
        "column": 11,
        "path": "trainer.auto_lr_find",
        "open": True,
        "found": "Lightning 2 has no such argument of the trainer",
        "write": "`lighter tune lr` suggests a learning rate.",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
        (["bad.yaml"], "bad.yaml:1:3: this is not YAML"),
        (["list.yaml", "--from", "hydra"], "a config is a dict"),
        (["a.yaml", "x=1"], "overrides are for Hydra"),
        (["main.py"], "no config file is given"),
        (["h.yaml", "main.py"], "of Python, the one script that calls LightningCLI is read"),
        (["h.yaml", "x=[1"], "command line"),
        (["a.yaml", "--from", "lightning"], "lightning-cli"),
        ([], "Missing argument"),
    ],
)
def test_what_is_wrong_is_said(own_place: Path, words: list[str], message: str) -> None:
    for name, text in {"a": CLI, "bad": "{a", "list": "[1]", "h": "defaults: []\nmodel: {_target_: a.B}\n"}.items():
        Path(f"{name}.yaml").write_text(text)
    Path("main.py").write_text("")
    result = run("convert", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())


def test_what_is_said_of_the_words(own_place: Path) -> None:
    Path("a.yaml").write_text(CLI)
    assert "Did you mean `hydra`?" in " ".join(run("convert", "a.yaml", "--from", "hydr").stderr.split())
    assert "http://host/a.yaml: a file is converted" in run("convert", "http://host/a.yaml").stderr
    assert "Now: lighter check 'my b.yaml'" in run("convert", "a.yaml", "-o", "my b.yaml").stderr
    assert max(map(len, run("convert", "--help").stdout.splitlines())) <= 80


def test_nothing_of_the_project_is_imported(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: loud.B}\n")
    for name in ("loud.py", "main.py"):
        Path(name).write_text("raise SystemExit('imported')\nLightningCLI()\n")
    code = """import sys; from lighter.cli import cli
try: cli(['convert', 'a.yaml', 'main.py'])
finally: print([name for name in ('torch', 'loud', 'main') if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
