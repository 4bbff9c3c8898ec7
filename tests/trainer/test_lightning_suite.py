"""The runner of Lightning's own tests, on a checkout with tests of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.trainer import lightning_suite

ROOT = Path(__file__).parents[2]
TESTS = """
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

def test_the_same(tmp_path):
    trainer = Trainer(default_root_dir=tmp_path, max_steps=2)
    trainer.fit(BoringModel())
    assert trainer.global_step == 2

def test_whose_loops(tmp_path):
    assert type(Trainer(default_root_dir=tmp_path).validate_loop).__name__ == "_EvaluationLoop"

def test_that_fails_with_both():
    assert False

def test_that_ends_its_process():
    __import__("os")._exit(3)
"""


@pytest.mark.long
def test_what_differs_is_told(own_place: Path) -> None:
    folder = own_place / "checkout/tests/tests_pytorch/loops"
    folder.mkdir(parents=True)
    (folder / "test_ours.py").write_text(TESTS)
    command = [sys.executable, "-m", "tests.trainer.lightning_suite", own_place / "checkout", "loops"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1, done.stderr
    name, theirs, ours, summary = done.stdout.splitlines()
    assert name == "new: loops/test_ours.py::test_whose_loops"
    assert theirs == "    Lightning's: passed"
    assert ours.startswith("    ours:        failed: AssertionError")
    assert summary == (
        "4 tests: 1 pass with lighter.Trainer; 1 end differently than with Lightning's, 1 of them not known; "
        "0 known ones are no difference any more"
    )


@pytest.mark.parametrize(
    ("ours", "known", "code", "told"),
    [
        ({"a": "passed", "b": "failed: x"}, [], 0, []),
        ({"a": "failed: x", "b": "passed"}, [], 1, ["new: a", "    Lightning's: passed", "    ours:        failed: x"]),
        ({"b": "passed", "c": "passed"}, [], 1, ["new: a", "    Lightning's: passed", "    ours:        did not run"]),
        ({"a": "failed: x", "c": "passed"}, ["a"], 0, []),
        ({"a": "passed"}, ["a"], 1, ["no difference any more: a"]),
        ({"a": "passed"}, ["b", "d"], 0, []),  # they fail with Lightning's too, or did not run
    ],
)
def test_new_differences_and_those_that_are_none_any_more(
    ours: dict[str, str], known: list[str], code: int, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = {"a": "passed", "b": "failed: y"}
    assert lightning_suite.report(theirs, ours, dict.fromkeys(known, "for a reason")) == code
    assert capsys.readouterr().out.splitlines()[:-1] == told


def test_the_known_differences_have_a_reason_and_are_named_once() -> None:
    for exact_resume in (False, True):
        known = lightning_suite.known_differences(lightning_suite.KNOWN, exact_resume=exact_resume)
        assert known
        assert all("::" in test and len(reason) > 20 for test, reason in known.items())
    groups = yaml.safe_load(lightning_suite.KNOWN.read_text())
    named = [test for kind in groups.values() for tests in kind.values() for test in tests]
    assert len(named) == len(set(named))


def test_a_folder_that_is_no_checkout(own_place: Path) -> None:
    command = [sys.executable, "-m", "tests.trainer.lightning_suite", own_place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == f"{own_place} is no checkout of Lightning: it has no tests/tests_pytorch"
    assert done.returncode == 1
