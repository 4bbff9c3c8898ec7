"""Every example runs: each `examples/**/config.yaml` in every stage that it has data for, and as well as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lighter
from lighter.errors import ConfigError

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGS = sorted(EXAMPLES.rglob("config.yaml"))
IDS = [str(config.parent.relative_to(EXAMPLES)) for config in CONFIGS]


def test_the_examples_were_found():
    assert {"digits", "digits_lightning"} <= set(IDS)


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_runs(config, stage, tmp_path):
    inputs = [str(config), "trainer::fast_dev_run=true", f"run::dir={tmp_path}"]
    try:
        result = lighter.Runner().run(stage, inputs)
    except ConfigError as error:
        if stage == "fit" or "needs a dataloader" not in str(error):
            raise
        pytest.skip(f"no data for {stage}")
    assert {"fit": result is None, "predict": bool(result)}.get(stage, isinstance(result, list))


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_header_says_what_it_needs_and_how_it_runs(config):
    header = re.match(r"(?:#.*\n)+", config.read_text(encoding="utf-8"))
    assert header, f"{config} begins with a comment that says what it is"
    lines = dict(re.findall(r"^# (\w+): +(.+)$", header[0], re.MULTILINE))
    assert {"Needs", "Run", "Override"} <= set(lines)
    path = str(config.relative_to(EXAMPLES.parent))
    assert lines["Run"].split()[:3] == ["lighter", "fit", path]
    assert lines["Override"].startswith(lines["Run"])


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_the_override_of_the_header_runs(config, tmp_path):
    command = re.search(r"^# Override: lighter fit (.+)$", config.read_text(encoding="utf-8"), re.MULTILINE)
    assert command
    _, *overrides = command[1].split()
    assert overrides
    short = ["trainer::max_epochs=1", "trainer::limit_train_batches=1", f"run::dir={tmp_path}"]
    lighter.Runner().run("fit", [str(config), *overrides, *short])


@pytest.mark.slow
def test_digits_reach_97_percent(tmp_path):
    outcome = lighter.Runner().execute("fit", [str(EXAMPLES / "digits/config.yaml"), f"run::dir={tmp_path}"])
    assert outcome.trainer.callback_metrics["val/metrics/accuracy/epoch"] >= 0.97
    assert (outcome.folder.checkpoints / "best.ckpt").is_file()


@pytest.mark.slow
def test_digits_lightning_learns(tmp_path):
    outcome = lighter.Runner().execute("fit", [str(EXAMPLES / "digits_lightning/config.yaml"), f"run::dir={tmp_path}"])
    assert outcome.trainer.callback_metrics["val_acc"] >= 0.95
