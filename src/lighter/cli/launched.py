"""Within a launched job: begin a stage or an experiment in the folder that was made for it, or continue what is there.

`run_launched` may be called again for the same folder after any end: at each start of a requeued job it finds out what
is left to do. Lightning starts the processes of other devices with this module.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.cli.stage import run_and_show
from lighter.files.folders import remove_whole
from lighter.files.partials import sweep
from lighter.files.run_folder import LOSSES, METRICS, SPLIT, RunFolder, has_progress, is_rank_zero
from lighter.processes.streams import print_each_line_at_once
from lighter.runs.checkpoint_files import moments
from lighter.runs.rank_zero import told_by_rank_zero
from lighter.runs.read import FINISHED, PENDING, Run, read_run

if TYPE_CHECKING:
    from lighter.engine.execution import Outcome
    from lighter.engine.experiment import Began
    from lighter.engine.runner import Runner
    from lighter.experiments.handle import Experiment

TASK = "LIGHTER_LAUNCHED"
"""The environment variable by which the other processes of a distributed run learn the task."""


def run_launched(task: Mapping[str, Any]) -> int:
    """Run a task of `engine/launch.py`, and return the exit code of the command that it stands for."""
    print_each_line_at_once()
    os.chdir(task["cwd"])
    sys.argv = [*task["command"]]  # read by the record
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("lighter.cli.launched")
    if task["mode"] == "experiment":
        from lighter.cli.experiment_failures import run_experiment

        return run_experiment(lambda began: _experiment(task, began), traceback=task["traceback"])
    folder = RunFolder(Path(task["folder"]))
    mode = task.get("now") or told_by_rank_zero(folder.path, lambda: _mode_now(task, folder)) or _mode_now(task, folder)
    if mode == "done":
        print(f"{folder.id} is finished.")
        return 0
    # the first process says it to those that Lightning starts
    os.environ[TASK] = json.dumps({**task, "now": mode})
    return run_and_show(task["stage"], lambda runner: _run(runner, task, mode, folder), traceback=task["traceback"])


def _mode_now(task: Mapping[str, Any], folder: RunFolder) -> str:
    """Return how this start begins: `start`, `weights` or `resume` as asked for; `continue` or `done` after others."""
    run = read_run(folder.path)
    if run.facts.get("status") == PENDING:
        return str(task["mode"])
    if run.status == FINISHED:  # a node failed between the last step and the end of the job
        return "done"
    if task["stage"] == "fit":
        # what was there when a resume was submitted is of earlier jobs: it has yet to take what it is to take of that
        recorded = task["mode"] != "resume" and run.facts.get("checkpoints")
        has_saved = recorded or moments(run.folder, run.facts) - {*task.get("earlier", ())}
        return "continue" if has_saved else str(task["mode"])
    has_begun = task["stage"] == "predict" and any(map(has_progress, folder.path.rglob("*")))
    return "continue" if has_begun else str(task["mode"])


def _run(runner: Runner, task: Mapping[str, Any], mode: str, folder: RunFolder) -> Outcome:
    from lighter.runs.resume.config_changes import ALL, WEIGHTS
    from lighter.runs.resume.fit import resumed

    stage, arguments, config = task["stage"], dict(task["arguments"]), Path(task["config"])
    if stage == "predict" and mode == "continue":
        return runner.execute(stage, resume=folder.path)
    weights_only = arguments.get("weights_only") is not False
    if mode in ("continue", "resume"):
        # once the state of its checkpoint is taken, the run's own config is that of this job
        take = task.get("take", ALL) if mode == "resume" else ALL
        changed = config if task["mode"] == "resume" else None
        with resumed(folder.path, folder.path, (), take, weights_only=weights_only, config=changed) as plan:
            return runner.execute("fit", plan[1], resume_plan=plan[0])
    if is_rank_zero():
        _clear(read_run(folder.path))
    if mode == "weights":
        with resumed(task["run"], folder.path, (), WEIGHTS, weights_only=weights_only, config=config) as plan:
            return runner.execute("fit", plan[1], resume_plan=plan[0], in_folder=folder.path)
    return runner.execute(stage, [config], in_folder=folder.path, **arguments)


def _clear(run: Run) -> None:
    """Remove what a start wrote that ended before it saved a checkpoint, and nothing of the user's."""
    if run.facts.get("status") == PENDING:  # nothing has started
        return
    sweep(run.folder.checkpoints)
    for path in _written(run):
        remove_whole(path)


def _written(run: Run) -> Iterator[Path]:
    """Yield what a stage writes besides its checkpoints, where the next start would continue or repeat it."""
    folder = run.folder
    yield from (folder.path / name for name in (METRICS, LOSSES, SPLIT, "hparams.yaml"))
    yield from (folder.predictions, folder.arrays, folder.report, folder.pictures, folder.lr_curve, folder.lr_plot)
    yield from [*folder.path.glob("config.[0-9]*.yaml"), *folder.path.glob("events.out.tfevents.*")]
    for logger in run.facts.get("loggers") or ():
        path = Path(logger.get("folder") or "")
        # the folder of the run itself, or one elsewhere, has files of others
        if path.is_absolute() and folder.path.resolve() in path.resolve().parents:
            yield path


def _experiment(task: Mapping[str, Any], began: Began) -> Experiment:
    from lighter.engine.experiment import resume

    folder = Path(task["folder"])
    return resume(folder, folder.parent, began=began)


if __name__ == "__main__":  # the process of another rank
    from lighter import lightning_alias
    from lighter.launch.job import caught

    lightning_alias.install()
    raise SystemExit(caught(lambda: run_launched(json.loads(os.environ[TASK]))))
