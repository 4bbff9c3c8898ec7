"""No attack on safe mode runs code: an audit hook and a canary say so, of one process that tries them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.config.safe.attacks import CONFIGS, EXPRESSIONS, PICKLED, TARGETS

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow  # several hundred attacks, in one process

HARMLESS = ("checkpoint a pickle after the end of another, archive.ckpt",)  # the second one is not read


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.config.safe.run_attacks",
        str(tmp_path_factory.mktemp("attacked")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_there_are_enough_attacks_and_each_was_tried(outcome: dict[str, Any]) -> None:
    written = len(TARGETS) + len(EXPRESSIONS) + len(CONFIGS) + len(PICKLED)
    assert written >= 500
    assert len(outcome["attacks"]) >= written + len(TARGETS) + len(EXPRESSIONS)


def test_none_runs_code(outcome: dict[str, Any]) -> None:
    assert [attack for attack in outcome["attacks"] if attack["events"]] == []
    assert not outcome["canary"]


def test_each_is_refused_with_a_message(outcome: dict[str, Any]) -> None:
    """Where the reading is taken away, what does nothing may pass: `1 or __import__('os')` is 1."""
    passed = [
        attack
        for attack in outcome["attacks"]
        if attack["error"] not in ("ConfigError", "CheckpointError", "DamagedCheckpointError", "RefusedCheckpointError")
        and not (attack["error"] is None and (attack["name"] in HARMLESS or attack["name"].endswith(", unread")))
    ]
    assert passed == []


def test_most_are_refused_without_the_reading_too(outcome: dict[str, Any]) -> None:
    unread = [attack for attack in outcome["attacks"] if attack["name"].endswith(", unread")]
    assert {attack["name"] for attack in unread if attack["error"] is None} <= {
        "expression 1 or __import__('os'), unread",
        f"expression {'1' + ' ' * 96}..., unread",
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_the_message_names_what_is_refused(outcome: dict[str, Any], name: str) -> None:
    [attack] = [attack for attack in outcome["attacks"] if attack["name"] == f"config {name}"]
    assert CONFIGS[name][1] in attack["message"]


def test_without_safe_mode_the_same_succeeds_and_is_seen(outcome: dict[str, Any]) -> None:
    assert [control["name"] for control in outcome["controls"]] == ["target", "expression", "import", "pickle"]
    assert all(control["canary"] and control["events"] for control in outcome["controls"])
