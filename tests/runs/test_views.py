"""Runs and their differences as tables, at 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighter.display.terminal import lines
from lighter.runs.compare import config_changes
from lighter.runs.read import read_run
from lighter.runs.views import pieces_of_differences, pieces_of_run
from tests.runs.jobs import make_run

FIRST, SECOND = "2026-01-02/10-00-00-digits", "2026-01-03/10-00-00-other-network"
LINEAR = "{_target_: torch.nn.Linear, in_features: %d, out_features: %d}"
RELU = "{_target_: torch.nn.ReLU}"
NETWORK = "{_target_: torch.nn.Sequential, _args_: [%s]}"
ONE = f"""\
seed: 1
model:
  network: {NETWORK % ", ".join([LINEAR % (64, 64), RELU, LINEAR % (64, 10)])}
  optimizer: {{_target_: torch.optim.Adam, lr: 0.001}}
trainer: {{max_epochs: 3, callbacks: [{{_target_: Stop, patience: 3}}]}}
"""
OTHER = f"""\
seed: 1
model:
  network: {NETWORK % ", ".join([LINEAR % (64, 64), RELU, "{_target_: torch.nn.Dropout}", LINEAR % (64, 10)])}
  optimizer: {{_target_: torch.optim.Adam, lr: 0.1}}
  scheduler: {{_target_: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0: 10, T_mult: 2, eta_min: 0.00001}}
trainer: {{max_epochs: 3}}
"""


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    first = make_run(tmp_path, FIRST, metrics={"val/loss": 0.123456789, "val/acc": 0.9})
    second = make_run(tmp_path, SECOND, metrics={"val/loss": 0.123456781, "val/acc": 0.95}, status="failed",
                      data={"train": [{"fingerprint": "0123456789abcdef" * 2}]})  # fmt: skip
    (first / "config.yaml").write_text(ONE)
    (second / "config.yaml").write_text(OTHER)
    return first, second


def shown(first: Path, second: Path, columns: int | None = 80) -> list[str]:
    return [line.plain for line in lines(pieces_of_differences(read_run(first), read_run(second)), columns)]


def test_a_layer_that_is_inserted_is_one_change(runs: tuple[Path, Path]) -> None:
    changes = config_changes(*map(read_run, runs))
    assert [(each.kind, each.path) for each in changes] == [
        ("added", "model::network::_args_::2"),
        ("changed", "model::optimizer::lr"),
        ("added", "model::scheduler"),
        ("removed", "trainer::callbacks"),
    ]


def test_a_diff_fits_80_columns(runs: tuple[Path, Path]) -> None:
    found = shown(*runs)
    assert max(map(len, found)) <= 80
    words = [line.split() for line in found]
    assert ["optimizer::lr", "0.001", "0.1"] in words
    assert ["val/loss", "0.123456789", "0.123456781"] in words
    assert ["val/acc", "0.9", "0.95"] in words
    assert ["status", "finished", "failed"] in words
    headings = [line for line in found[:-1] if line and not line.startswith(" ")]
    assert [line.split() for line in headings[:2]] == [["first", FIRST], ["second", SECOND]], "ids are whole"
    assert headings[2:] == ["config model", "config trainer", "data", "results"]
    (scheduler,) = [line for line in found if line.startswith("  + scheduler")]
    assert "{_target_: torch" in scheduler
    assert "..." in scheduler
    assert len(scheduler) > 70


def test_in_a_pipe_nothing_is_cut(runs: tuple[Path, Path]) -> None:
    text = "\n".join(shown(*runs, columns=None))
    assert "..." not in text
    assert (
        "{_target_: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0: 10, T_mult: 2, eta_min: 1e-05}" in text
    )
    assert "0123456789abcdef" * 2 in text


def test_a_run_fits_80_columns_and_its_command_can_be_copied(tmp_path: Path) -> None:
    path = "outputs/experiments/2026-11-29/16-04-55-fast/trial-0000-seed-2/config.yaml"
    folder = make_run(tmp_path, FIRST, command=["lighter", "test", path, "--ckpt_path", "best"])
    rows = [f"{step},{1 / (1 + step)}" for step in range(200)]
    (folder / "metrics.csv").write_text("\n".join(["step,val/metrics/a_rather_long_name/epoch", *rows]))
    found = [line.plain for line in lines(pieces_of_run(read_run(folder)), 80)]
    long = [line for line in found if len(line) > 80]
    assert all(line.split()[-1] in (path, str(folder)) for line in long)
    (curve,) = [line.split() for line in found if line.startswith("val/metrics/a_rather_long_name/epoch")]
    assert (curve[1], *curve[3:]) == ("1", "0.005", "0.005", "1")
    assert len(curve[2]) > 7
