"""`lighter check` as a command: what it prints where, and its exit codes. What it finds is tested with the config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli

BAD = Path(__file__).parents[1] / "config/bad"


def check(*words: str) -> Result:
    # pytest-xdist says 80
    return CliRunner().invoke(cli, ["check", *words], env={"COLUMNS": None})


@pytest.fixture(autouse=True)
def files(own_place: Path) -> None:
    for name in ("good.yaml", "system.yaml"):
        (own_place / name).write_text((BAD / name).read_text())


def test_a_good_config() -> None:
    assert (check("good.yaml").exit_code, check("good.yaml").stdout) == (0, "No problems.\n")
    assert check("good.yaml", "--shape").stdout == "No problems that can be told without importing anything.\n"
    assert json.loads(check("good.yaml", "--json").stdout)["problems"] == []


def test_a_bad_config() -> None:
    found = check("good.yaml", "trainer::max_epoch=3", "vars::lrr=1")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith("The config has 1 problem.\n\ncommand line: vars::lrr: nothing reads"), "at once"
    assert "\n\nThe config has 1 more problem.\n\ncommand line: trainer::max_epoch: the trainer: " in found.stderr
    data = json.loads(check("good.yaml", "trainer::max_epoch=3", "--json").stdout)["problems"]
    assert [(problem["severity"], problem["path"], problem["word"]) for problem in data] == [
        ("error", "trainer::max_epoch", "trainer::max_epoch=3")
    ]
    assert check("good.yaml", "trainer::max_epoch=3", "--shape").exit_code == 0
    assert check("good.yaml", "trainer::max_epoch=3", "--probe").exit_code == 2


def test_warnings_alone_are_no_failure() -> None:
    found = check("good.yaml", "trainer::accelerator=gpu")
    assert found.exit_code == 0
    assert found.stderr.startswith(
        "The config has 2 warnings.\n\ngood.yaml:5:26: model::train_metrics::accuracy: warning: "
    )
    both = check("good.yaml", "trainer::accelerator=gpu", "trainer::max_epochs=x")
    assert both.exit_code == 2
    assert both.stderr.startswith("The config has 1 problem and 2 warnings.")


def test_a_stage_alone() -> None:
    assert check("good.yaml", "--stage", "validate").exit_code == 0
    assert "`test` needs a dataloader" in check("good.yaml", "--stage", "test").stderr
    assert check("good.yaml", "--stage", "tets").stderr == "`tets` is no stage. Did you mean `test`?\n"


def test_the_probe() -> None:
    found = check("good.yaml", "--probe")
    assert found.exit_code == 0, found.stderr
    assert "network.0  Linear" in found.stdout
    assert "One training step ran on the meta device: shapes, no values. 2,410 parameters train." in found.stdout
    assert {path.name for path in Path().iterdir()} == {"good.yaml", "system.yaml"}
    failed = check("good.yaml", "--probe", "model::network={_target_: tests.engine.test_runner.failing, width: 3}")
    assert failed.exit_code == 1
    assert "ZeroDivisionError: no width is good" in failed.stderr
    assert check("good.yaml", "--probe", "--stage", "test").exit_code == 2


def test_what_modules_print_is_not_in_the_json(own_place: Path) -> None:
    (own_place / "loud.py").write_text("print('hello')\nfrom tests.jobs import mlp\n")
    found = check("good.yaml", "model::network::_target_=loud.mlp", "--json")
    assert json.loads(found.stdout)["problems"] == []
