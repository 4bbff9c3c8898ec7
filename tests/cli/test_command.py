"""The `lighter` command as a whole process: exit codes, what it prints, how fast it starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lighter.config.yaml import dump
from tests.commands import TESTS, Process, run_command


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return run_command("lighter", *words, environment=TESTS)


@pytest.fixture
def file(config: dict[str, Any], own_place: Path) -> str:
    (own_place / "digits.yaml").write_text(dump(config))
    return "digits.yaml"


def test_import_and_help_need_no_torch_and_change_nothing() -> None:
    code = """
import sys, logging, warnings
before = (sys.excepthook, list(warnings.filters), list(logging.root.handlers))
import lighter
from lighter.cli import cli
import click.testing
assert click.testing.CliRunner().invoke(cli, ["--help"]).exit_code == 0
assert before == (sys.excepthook, list(warnings.filters), list(logging.root.handlers))
heavy = {"torch", "pytorch_lightning", "lightning", "torchmetrics", "numpy", "yaml", "sparkwheel", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_importable() -> None:
    import lighter

    for name in lighter.__all__:
        assert getattr(lighter, name) is not None
        assert name in dir(lighter)
    with pytest.raises(AttributeError, match="has no attribute 'Sytsem'; it has "):
        _ = lighter.Sytsem


@pytest.mark.slow
def test_help_shows_the_commands() -> None:
    shown = command("--help").stdout
    assert all(stage in shown for stage in ("fit", "validate", "test", "predict"))
    assert "--ckpt_path" in command("test", "--help").stdout


@pytest.mark.slow
def test_fit_then_test_then_predict(file: str) -> None:
    started = [sys.executable, "-m", "lighter", "fit", file, "trainer::max_epochs=3"]
    environment = {**os.environ, **TESTS, "PYTHONWARNINGS": "default"}
    fitted = subprocess.run(started, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert fitted.returncode == 0, fitted.stderr
    assert re.search(r"val/metrics/accuracy/epoch +0\.\d", fitted.stdout)
    folder = Path(re.search(r"^run +(.+)$", fitted.stdout, re.MULTILINE)[1])
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"] == 3
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert "litlogger" not in fitted.stderr + fitted.stdout
    assert "Warning" not in fitted.stderr
    assert "\r" not in fitted.stdout  # no progress bar in a pipe
    tested = command("test", "--ckpt-path", "best", file, "--verbose")
    assert tested.returncode == 0, tested.stderr
    assert "test/metrics/f1/epoch" in tested.stdout
    predicted = command("predict", file, "--ckpt_path", "last", "--return-predictions")
    assert predicted.returncode == 0, predicted.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["digits.yaml", "mdoel::x=1"], 2, "mdoel: this section is unknown"),
        (["digits.yaml", "trainer::callbacks::0::x=1", "~vars::no"], 2, "The config has"),
        (["nowhere.yaml"], 2, "nowhere.yaml: there is no such file"),
        (["digits.yaml", "--ckpt_path", "nowhere.ckpt"], 3, "there is no checkpoint nowhere.ckpt"),
        (["digits.yaml", "model::finetune_cfg=hed"], 2, "command line: model::finetune_cfg: `finetune_cfg`: no"),
        (["digits.yaml", "--ckpt_pth", "x"], 2, "No such option"),
        ([], 2, "Missing argument"),
    ],
)
def test_mistakes_of_the_caller_end_with_a_message(file: str, words: list[str], code: int, shown: str) -> None:
    done = command("fit", *words)
    assert done.returncode == code
    assert shown in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_failure_in_the_users_code_shows_the_users_frames(file: str, own_place: Path) -> None:
    (own_place / "mine.py").write_text("def net(width):\n    raise ValueError('no width is good')\n")
    done = command("fit", file, "=model::network={_target_: mine.net, width: 3}")
    assert done.returncode == 1
    assert "ValueError: no width is good" in done.stderr
    assert "while `model::network` (command line) was made, calling mine.net(width=3)" in done.stderr
    assert 'mine.py", line 2, in net' in done.stderr
    assert "sparkwheel" not in done.stderr
    assert len(done.stderr.splitlines()) < 20


@pytest.mark.faults
@pytest.mark.parametrize(
    ("sent", "code", "noted"), [("SIGINT", 130, "stopped by Ctrl-C"), ("SIGTERM", 143, "stopped by SIGTERM")]
)
def test_a_signal_ends_with_its_code_and_keeps_the_run(
    file: str, own_place: Path, sent: str, code: int, noted: str
) -> None:
    process = Process("lighter", "fit", file, "trainer::max_epochs=100000", environment=TESTS)
    process.wait_until(lambda: any(own_place.glob("outputs/*/*/checkpoints/last.ckpt")))
    process.send_signal(signal.Signals[sent])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    [log] = own_place.glob("outputs/*/*/run.log")
    assert noted in log.read_text()


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["tune", "lr", "nowhere.yaml"], 2, "nowhere.yaml: there is no such file"),
        (["tune", "lr", "digits.yaml", "--num-training", "3"], 2, "3 is not in the range"),
        (["tune", "batch-size", "digits.yaml", "--mode", "fast"], 2, "'fast' is not one of"),
        (["tune", "batchsize", "digits.yaml"], 2, "No such command"),
        (["runs", "show", "~no-user-of-this-name/x"], 2, "called `~no-user-of-this-name/x`"),
        (["compare", "~no-user-of-this-name"], 2, "`~no-user-of-this-name`"),
        (["experiment", "status", "~no-user-of-this-name"], 2, "there is no experiment"),
        (["summary"], 2, "Missing argument"),
    ],
)
def test_mistakes_with_the_commands_that_look_ahead(file: str, words: list[str], code: int, shown: str) -> None:
    from click.testing import CliRunner

    from lighter.cli import cli

    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code
    assert shown in done.output
