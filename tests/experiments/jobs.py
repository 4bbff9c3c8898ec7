"""Folders of experiments as sweeps leave them, made without training anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lighter.experiments.member_files import write_member
from lighter.experiments.schedule import Asha, Schedule
from lighter.experiments.trials import FAILED, PAUSED, Member, Objective, Trial
from lighter.processes.identity import this_process
from tests.experiments.simulation import Simulation

LOSS, ACCURACY = Objective("val/loss/epoch"), Objective("val/metrics/accuracy/epoch", is_maximized=True)
LEARNING_RATES = [0.1, 0.003, 0.05, 0.00002, 0.001, 0.5, 0.01, 0.0007, 0.2, 0.004]
CONFIG = """\
seed: 5
model: {{_target_: torch.nn.Identity}}
trainer: {{max_epochs: 9}}
experiment:
  objective: {objective}
  seeds: {seeds}
{folds}  search:
    space: {{model::optimizer::lr: {{from: 1e-5, to: 1, scale: log}}}}
    trials: {trials}
    schedule: {schedule}
"""


def make_experiment(
    root: Path,
    identity: str = "2026-11-29/14-03-55-digits",
    *,
    trials: int = 9,
    asked: int | None = None,
    seeds: int = 1,
    folds: int = 1,
    several: bool = False,
    values: Mapping[str, Any] | None = None,
) -> Path:
    """Make an experiment with ASHA at epochs 1 and 3, whose trial 0 has failed; with several objectives, without it."""
    folder = root / "experiments" / identity
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        CONFIG.format(
            objective=f"[min {LOSS.metric}, max {ACCURACY.metric}]" if several else f"min {LOSS.metric}",
            seeds=seeds,
            folds=f"  folds: {{n: {folds}}}\n" if folds > 1 else "",
            trials=asked or trials,
            schedule="none" if several else "{kind: asha, rungs: [1, 3]}",
        )
    )
    schedule = Schedule(LOSS) if several else Asha(LOSS, "trainer::max_epochs", (1.0, 3.0), 9.0)
    simulation = Simulation(schedule, curve, trials, 9.0, seeds=seeds * folds).run()
    for trial in simulation.trials:
        own = {"model::optimizer::lr": LEARNING_RATES[trial.number], **(values or {})}
        for index, member in enumerate(trial.members):
            member.values, member.seed, member.fold = own, 5 + index // folds, index % folds if folds > 1 else None
            if several:
                member.results = {rung: (loss, 1 - loss * loss) for rung, (loss,) in member.results.items()}
            member.error = "ValueError: bad" if member.status == FAILED else None
            write_member(folder, member)
            write_run(folder, member, member.status)
    return folder


def write_run(folder: Path, member: Member, status: str, **facts: Any) -> None:
    """Write what a fit leaves in its folder."""
    home = folder / member.name
    metrics = {LOSS.metric: member.results[member.target][0]} if member.target in member.results else {}
    record = {
        "stage": "fit",
        "status": status,
        "seconds": 1.5,
        "progress": {"epoch": 2, "step": 64},
        "metrics": metrics,
    }
    (home / "run.json").write_text(json.dumps({**record, **this_process(), **facts}))
    (home / "config.yaml").write_text("trainer: {max_epochs: 9}\n")
    (home / "checkpoints").mkdir(exist_ok=True)
    (home / "checkpoints" / ("last.ckpt" if status == PAUSED else "best.ckpt")).touch()


def curve(number: int, epochs: float) -> float | None:
    return None if number == 0 else LEARNING_RATES[number] + 0.25 + 0.5 / epochs


def set_running(folder: Path, trial: Trial) -> None:
    """Have the members of a trial train up to their rung, in this process."""
    for member in trial.members:
        member.results.pop(member.target, None)
        write_member(folder, member)
        write_run(folder, member, "running", started="2026-01-02T14:00:00.000+00:00")
