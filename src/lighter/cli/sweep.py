"""`lighter sweep`: many fits of one config, with different values, seeds and folds, as one experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lighter.cli.launch import launch_and_show, launch_of, with_launch
from lighter.cli.options import EPILOG, as_json, inputs, with_traceback

if TYPE_CHECKING:
    from lighter.engine.experiment import Began
    from lighter.engine.submit import Launch, Launched
    from lighter.experiments.handle import Experiment


@click.command(epilog=EPILOG)
@inputs
@click.option("--seeds", metavar="N|LIST", help="Seeds of each trial: N from the config's own on, or a list: [1,2,3].")
@click.option("--folds", type=click.IntRange(min=2), metavar="N", help="Cross-validate with N folds.")
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Points to try. Default: the whole grid, or 20."
)
@click.option("--method", metavar="NAME", help="How points are chosen: grid, random, sobol or tpe.")
@click.option("--objective", metavar="TEXT", help="What is best. Default: 'min val/loss/epoch'.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Fits that run at once.")
@with_launch
@with_traceback
@as_json
def sweep(inputs: tuple[str, ...], traceback: bool, as_json: bool, **options: Any) -> None:
    """Run an experiment: many fits of a config, with different values, seeds and folds.

    INPUT: config files and overrides. An override with a list or a range is searched over; others hold for all fits.

    \b
      lighter sweep config.yaml 'model::optimizer::lr=[1e-4,1e-3]' --seeds 3
      lighter sweep config.yaml 'model::optimizer::lr={from: 1e-4, to: 0.1}'
      lighter sweep config.yaml        (with a section `experiment` in the file)

    A value that is itself a list is written with `=` before its path: =model::optimizer::betas=[0.9,0.99].

    An interrupted experiment resumes with `lighter experiment resume`.
    """
    from lighter.cli.experiment_failures import run_experiment

    job = launch_of(options, traceback=traceback)
    if job is not None:
        raise SystemExit(launch_and_show(lambda: _launch([*inputs], options, job), "experiment", traceback=traceback))
    command = "sweep" if as_json else ""
    raise SystemExit(
        run_experiment(lambda began: _start([*inputs], options, began), traceback=traceback, command=command)
    )


def _start(inputs: list[str], options: dict[str, Any], began: Began) -> Experiment:
    from lighter.engine.experiment import start

    return start(inputs, began=began, **options)


def _launch(inputs: list[str], options: dict[str, Any], job: Launch) -> Launched:
    from lighter.engine.launch import launch_experiment

    return launch_experiment(inputs, options, job)
