"""Every example runs: each `examples/**/config.yaml` in every stage that it has data for, and as well as it says."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

import lighter
from lighter.errors import ConfigError
from tests.slow import mostly_slow, one_in

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGS = sorted(EXAMPLES.rglob("config.yaml"))
SHORT = ("trainer::max_epochs=1", "trainer::limit_train_batches=1")
IDS = [str(config.parent.relative_to(EXAMPLES)) for config in CONFIGS]


class Example(NamedTuple):
    """What an example comes to when its header is followed.

    Attributes:
        reaches: the lowest and highest value of what it logs, in `fit` and then in `test`. They leave a margin to what
            was measured, for the arithmetic of other machines.
        expects: the figures of its header's `Expect:`, which `reaches` was set after.
        writes: the file of `predict` in the run's folder.
    """

    reaches: dict[str, tuple[float, float]]
    expects: tuple[str, ...] = ()
    writes: str | None = None


TRAINED = {
    "digits": Example(
        {"val/metrics/accuracy/epoch": (0.97, 1), "test/metrics/accuracy/epoch": (0.97, 1)},
        writes="predictions.csv",
    ),
    "digits_lightning": Example({"val_acc": (0.95, 1), "test_acc": (0.94, 1)}),
    "digits_system": Example(
        {"val/metrics/accuracy/epoch": (0.97, 1), "test/metrics/accuracy/epoch": (0.97, 1)},
        expects=("98.5%",),
    ),
    "segmentation": Example(
        {"val/metrics/iou/epoch": (0.93, 1), "test/metrics/iou/epoch": (0.95, 1)},
        expects=("0.98",),
        writes="coins-test.png",
    ),
    "multitask": Example(
        {
            "val/metrics/digit/epoch": (0.95, 1),
            "test/metrics/digit/epoch": (0.96, 1),
            "test/metrics/ink/epoch": (0, 0.6),
        },
        expects=("97.8%", "0.40"),
    ),
    "autoencoder": Example(
        {"val/loss/epoch": (0, 0.022), "test/metrics/mse/epoch": (0, 0.022)},
        expects=("0.015",),
        writes="reconstructions.png",
    ),
    "finetune": Example(
        {"val/metrics/accuracy/epoch": (0.95, 1), "test/metrics/accuracy/epoch": (0.965, 1)},
        expects=("98.5%",),
        writes="predictions/probabilities/probabilities.csv",
    ),
    "crossvalidation": Example(
        {
            "val/metrics/auroc/epoch": (0.97, 1),
            "test/metrics/accuracy/epoch": (0.94, 1),
            "test/metrics/auroc/epoch": (0.98, 1),
        },
        expects=("97%",),
        writes="predictions.csv",
    ),
    "report": Example(
        {"val/metrics/accuracy/epoch": (0.94, 1), "test/metrics/accuracy/epoch": (0.94, 1)},
        expects=("96%",),
    ),
    "sweep": Example(
        {"val/metrics/accuracy/epoch": (0.97, 1), "test/metrics/accuracy/epoch": (0.97, 1)},
        expects=("98.5%",),
    ),
    "tabular": Example(
        {"val/metrics/r2/epoch": (0.4, 1), "test/metrics/r2/epoch": (0.32, 1), "test/metrics/mae/epoch": (0, 44.5)},
        expects=("42", "0.37"),
        writes="predictions.csv",
    ),
}


def header_of(config: Path) -> dict[str, str]:
    """The lines `# Key: text` that a config begins with."""
    header = re.match(r"(?:#.*\n)+", config.read_text(encoding="utf-8"))
    assert header, f"{config} begins with a comment that says what it is"
    return dict(re.findall(r"^# (\w+): +(.+)$", header[0], re.MULTILINE))


def test_the_examples_were_found():
    assert {"digits", "digits_lightning"} <= set(IDS)
    assert set(IDS) == set(TRAINED)


def run_first(config: Path, folder: Path, *short: str) -> None:
    """Run what the header says has to be run first."""
    first = header_of(config).get("First")
    if first:
        assert first.startswith("lighter fit examples/")
        lighter.Runner().run("fit", [str(EXAMPLES.parent / first.split()[-1]), f"run::dir={folder}", *short])


@pytest.mark.parametrize("stage", mostly_slow(["fit", "validate", "test", "predict"]))
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_runs(config, stage, tmp_path):
    if stage == "fit":
        run_first(config, tmp_path, *SHORT)
    inputs = [str(config), "trainer::fast_dev_run=true", f"run::dir={tmp_path}"]
    try:
        result = lighter.Runner().run(stage, inputs)
    except ConfigError as error:
        if stage == "fit" or "needs a dataloader" not in str(error):
            raise
        pytest.skip(f"no data for {stage}")
    assert {"fit": result is None, "predict": bool(result)}.get(stage, isinstance(result, list))


@pytest.mark.parametrize("config", one_in(4, CONFIGS), ids=IDS)
def test_runs_in_safe_mode(config, tmp_path):
    """With its own classes and functions permitted, and nothing else beside the list."""
    texts = [file.read_text(encoding="utf-8") for file in config.parent.glob("*.yaml")]
    own = {name for text in texts for name in re.findall(r"_target_: (project\.[\w.]+)", text)}
    run_first(config, tmp_path, *SHORT)
    # one example builds on another
    safe = lighter.SafeMode(own, project=config.parent if own else None, roots=[EXAMPLES])
    stages = ["fit", "predict"] if TRAINED[config.parent.name].writes else ["fit"]
    for stage in stages:
        lighter.Runner(safe).run(stage, [str(config), "trainer::fast_dev_run=true", f"run::dir={tmp_path}"])


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_header_says_what_it_needs_and_how_it_runs(config):
    lines = header_of(config)
    assert {"Needs", "Run", "Override"} <= set(lines)
    path = config.relative_to(EXAMPLES.parent).as_posix()
    assert lines["Run"] == f"lighter fit {path}"
    assert lines["Override"].startswith(lines["Run"])


@pytest.mark.parametrize("config", one_in(4, CONFIGS), ids=IDS)
def test_the_override_of_the_header_runs(config, tmp_path):
    command = re.search(r"^# Override: lighter fit (.+)$", config.read_text(encoding="utf-8"), re.MULTILINE)
    assert command
    _, *overrides = command[1].split()
    assert overrides
    run_first(config, tmp_path, *SHORT)
    lighter.Runner().run("fit", [str(config), *overrides, *SHORT, f"run::dir={tmp_path}"])


@pytest.mark.long
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_trains_as_its_header_says(config, tmp_path):
    """By the commands of `Run:`, `Then:` and `And:`, which are these."""
    torch.set_num_threads(1)
    example, lines = TRAINED[config.parent.name], header_of(config)
    path, inputs = config.relative_to(EXAMPLES.parent).as_posix(), [str(config), f"run::dir={tmp_path}"]
    assert lines["Then"] == f"lighter test {path} --ckpt_path best"
    assert all(re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", lines["Expect"]) for figure in example.expects)

    run_first(config, tmp_path)
    fitted = lighter.Runner().execute("fit", inputs)
    assert {"best.ckpt", "last.ckpt"} <= {file.name for file in fitted.folder.checkpoints.iterdir()}
    [tested] = lighter.Runner().run("test", inputs, ckpt_path="best", verbose=False)
    reached = {**fitted.trainer.callback_metrics, **tested}
    missed = {
        name: (float(reached[name]), bounds)
        for name, bounds in example.reaches.items()
        if not bounds[0] <= reached[name] <= bounds[1]
    }
    assert not missed

    if "And" in lines:
        assert example.writes
        assert lines["And"].startswith(f"lighter predict {path} --ckpt_path best ")
    if example.writes:
        predicted = lighter.Runner().execute("predict", inputs, ckpt_path="best")
        check_file(predicted.folder.path / example.writes, samples=len(predicted.trainer.predict_dataloaders.dataset))


def check_file(path: Path, samples: int) -> None:
    """A picture has something on it, a table a row for each sample."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            darkest, brightest = picture.getextrema()
        assert darkest < brightest
    else:
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        assert len(rows) == samples
        assert all(len(row) == len(head) for row in rows)
