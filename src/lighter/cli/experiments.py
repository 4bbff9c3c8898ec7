"""`lighter experiment`: resume and stop experiments, and show which there are and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.completion import of_experiments
from lighter.cli.groups import Group
from lighter.cli.json_output import give
from lighter.cli.launch import launch_and_show, launch_of, with_launch
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, as_json, in_folder, with_traceback

if TYPE_CHECKING:
    from lighter.engine.experiment import Began
    from lighter.experiments.handle import Experiment

_EXP = "An EXP is the path of an experiment's folder, an id, the beginning of one, a name, or `last`."


@click.group(cls=Group, epilog=_EXP)
def experiment() -> None:
    """Resume, stop and show experiments: many fits of one config, which `lighter sweep` starts.

    \b
      lighter experiment list
      lighter experiment status last
      lighter experiment best last
      lighter experiment resume last
      lighter experiment predict last
    """


def _limit(default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = "At most so many rows; 0 for all. JSON has all."
    return click.option("--limit", type=click.IntRange(min=0), default=default, show_default=True, help=text)


@experiment.command(epilog=_EXP)
@click.argument("exp", default="last", shell_complete=of_experiments)
@in_folder
@_limit(10)
@as_json
def status(exp: str, root: Path, limit: int, as_json: bool) -> None:
    """Show progress and results: trials, rungs, running members."""
    from lighter.cli import experiment_tables as tables
    from lighter.experiments.folder import find_experiment
    from lighter.experiments.status import read_experiment

    with mistakes_shown():
        overview = read_experiment(find_experiment(exp, root))
        if as_json:
            give("experiment.status/1", tables.status_data(overview))
        else:
            tables.print_status(overview, limit)


@experiment.command("list", epilog=_EXP)
@in_folder
@_limit(30)
@as_json
def list_experiments(root: Path, limit: int, as_json: bool) -> None:
    """List the experiments, newest first."""
    from lighter.cli import experiment_tables as tables
    from lighter.experiments.status import public, read_experiments

    with mistakes_shown():
        unreadable: list[str] = []
        overviews = read_experiments(root, unreadable.append)
        for text in unreadable:
            click.echo(text, err=True)
        if as_json:
            give("experiment.list/1", [public(each) for each in overviews])
        elif overviews or not unreadable:
            tables.print_list(overviews, limit, root)


@experiment.command(epilog=_EXP)
@click.argument("exp", default="last", shell_complete=of_experiments)
@in_folder
@as_json
def best(exp: str, root: Path, as_json: bool) -> None:
    """Show the best trial, and the commands that train and test it.

    Of several objectives, the trials of the Pareto front.
    """
    from lighter.cli import experiment_tables as tables
    from lighter.experiments.folder import find_experiment
    from lighter.experiments.status import read_experiment

    with mistakes_shown():
        overview = read_experiment(find_experiment(exp, root))
        data = tables.best_data(overview)
        if as_json:
            give("experiment.best/1", data)
        else:
            tables.print_best(overview)


@experiment.command(epilog=f"{_EXP} {EPILOG}")
@click.argument("exp", shell_complete=of_experiments)
@click.argument("overrides", nargs=-1, metavar="[OVERRIDE...]")
@in_folder
@with_launch
@with_traceback
@as_json
def resume(exp: str, overrides: tuple[str, ...], root: Path, traceback: bool, as_json: bool, **launch: Any) -> None:
    """Run what is left of an experiment, and more if asked for.

    \b
      lighter experiment resume last
      lighter experiment resume last experiment::search::trials=100
      lighter experiment resume last experiment::seeds=5

    Members that were stopped or killed resume where they were; those that are done stay as they are.
    """
    from lighter.cli.experiment_failures import run_experiment

    job = launch_of(launch, traceback=traceback)
    if job is not None:
        from lighter.engine.launch import launch_experiment_resume

        submit = partial(launch_experiment_resume, exp, root, overrides, job)
        raise SystemExit(launch_and_show(submit, "experiment", traceback=traceback))

    def run(began: Began) -> Experiment:
        from lighter.engine import experiment as engine

        return engine.resume(exp, root, overrides, began=began)

    raise SystemExit(run_experiment(run, traceback=traceback, command="experiment.resume" if as_json else ""))


@experiment.command(epilog=_EXP)
@click.argument("exp", default="last", shell_complete=of_experiments)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Which trial; by default the best.")
@click.option("--ckpt_path", type=click.Choice(("best", "last")), help="Of each member; by default the best, or last.")
@click.option("--ensemble", is_flag=True, help="Of what `lighter predict` predicts, the mean of all members instead.")
@in_folder
@with_traceback
@as_json
def predict(exp: str, trial: int | None, ckpt_path: str | None, root: Path, **options: bool) -> None:
    """Predict with the members of a trial, into EXP/predictions.

    \b
      lighter experiment predict last
      lighter experiment predict last --trial 7 --ensemble

    The config's writers write them. With folds, each sample is predicted by the model that has not seen it.
    """
    from lighter.cli.stage import exit_code

    def run() -> None:
        from lighter.engine.out_of_fold import predict_ensemble, predict_out_of_fold
        from lighter.experiments.handle import Experiment

        experiment = Experiment(exp, root)
        number = experiment.best.trial.number if trial is None else trial
        predict_members = predict_ensemble if options["ensemble"] else predict_out_of_fold
        predictions = predict_members(experiment.path, number, ckpt_path)
        if options["as_json"]:
            give("experiment.predict/1", {"id": experiment.id, "trial": number, "path": predictions})
        else:
            click.echo(f"predictions of trial {number}: {predictions}")

    raise SystemExit(exit_code(run, traceback=options["traceback"], about="experiment"))


@experiment.command(epilog=_EXP)
@click.argument("exp", default="last", shell_complete=of_experiments)
@in_folder
@as_json
def stop(exp: str, root: Path, as_json: bool) -> None:
    """Save all running members and stop.

    The process that runs the experiment ends. `lighter experiment resume` continues it.
    """
    from lighter.experiments.coordinator_job import job_of
    from lighter.experiments.folder import find_experiment

    with mistakes_shown():
        folder = find_experiment(exp, root)
        is_running = folder.is_running
        job = None if is_running else job_of(folder.path)
        if is_running:
            folder.stop.touch()
    if as_json:
        give("experiment.stop/1", {"experiment": folder.id, "path": str(folder.path), "was_running": is_running})
    elif is_running:
        click.echo(f"{folder.id} stops once its members are saved. To go on: lighter experiment resume {folder.path}")
    elif job is not None and job.is_live:
        click.echo(f"{folder.id} has not begun: its coordinator's job {job.text}. To cancel: scancel {job.number}")
    else:
        click.echo(f"{folder.id} is not running")
