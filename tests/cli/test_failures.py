"""A failure of the user's code on the terminal: whose frames are shown, and what is said beside them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from lighter.cli.stage import exit_code
from lighter.config.yaml import dump

MINE = """
import lighter
from tests.jobs import Classifier

def network(width):
    raise KeyError("no such width")

class Fails(Classifier):
    def training_step(self, batch, batch_idx):
        return self.lose(batch)

    def lose(self, batch):
        raise ZeroDivisionError("lost")

class Returns(Classifier):
    def training_step(self, batch, batch_idx):
        return "a text"
"""


@pytest.fixture
def fit(config: dict[str, Any], own_place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (own_place / "failing_jobs.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(own_place))
    (own_place / "c.yaml").write_text(dump({**config, "trainer": {"fast_dev_run": True, "accelerator": "cpu"}}))

    def fit(*words: str) -> Result:
        return CliRunner().invoke(cli, ["fit", "c.yaml", *words])

    return fit


def test_a_constructor(fit: Any) -> None:
    words = ["=model::network={_target_: failing_jobs.network, width: 3}"]
    found = fit(*words)
    assert found.exit_code == 1
    lines = found.stderr.splitlines()
    assert [line for line in lines if line.startswith("  File ")] == [lines[1]]
    assert "failing_jobs.py" in lines[1]
    assert "KeyError: 'no such width'" in lines
    assert "while `model::network` (command line) was made, calling failing_jobs.network(width=3)" in lines
    whole = fit(*words, "--traceback").stderr
    assert all(name in whole for name in ("runner.py", "objects.py", "resolver.py", "failing_jobs.py"))
    assert "--traceback shows" not in whole


def test_a_step(fit: Any) -> None:
    found = fit("model::_target_=failing_jobs.Fails")
    assert found.exit_code == 1
    assert "ZeroDivisionError: lost" in found.stderr
    notes = [line for line in found.stderr.splitlines() if line.startswith("while `model` (c.yaml:12:3) ran, calling ")]
    assert "failing_jobs.Fails.lose(batch=<a list of 2: [a tensor of shape (32, 64)" in notes[0]
    assert "failing_jobs.Fails.training_step(batch=<a list of 2: [" in notes[1]
    assert notes[1].endswith(", batch_idx=0)")
    ours = str(Path(cli.callback.__code__.co_filename).parents[1])
    assert f'File "{ours}' not in found.stderr
    assert f'File "{ours}' in fit("model::_target_=failing_jobs.Fails", "--traceback").stderr


def test_what_the_step_returns_to_us(fit: Any) -> None:
    found = fit("model::_target_=failing_jobs.Returns")
    assert found.exit_code == 1
    assert "`training_step` returned a str ('a text'). A step returns one of" in found.stderr
    assert "while `model`" not in found.stderr


def test_warnings_of_the_engine_are_on_the_terminal(fit: Any, tmp_path: Path) -> None:
    """That a plain fit starts from what an OnExceptionCheckpoint left, say."""
    left = f"{{_target_: pytorch_lightning.callbacks.OnExceptionCheckpoint, dirpath: {tmp_path}}}"
    words = ["trainer::fast_dev_run=false", f"trainer::callbacks=[{left}]", "trainer::max_epochs=1"]
    assert fit(*words, "model::_target_=failing_jobs.Fails").exit_code == 1
    found = fit(*words)
    assert found.exit_code == 0, found.stderr
    assert found.stderr.count("on_exception.ckpt, which an OnExceptionCheckpoint left of one that failed") == 1


def test_warnings_of_libraries_are_shown_and_their_messages_not(capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> None:
        library = logging.getLogger("a.library")
        library.setLevel(logging.INFO)
        library.warning("beware")
        library.info("GPU available: False, used: False")

    assert exit_code(act) == 0
    assert capsys.readouterr().err == "beware\n"
