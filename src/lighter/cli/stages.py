"""`lighter fit`, `validate`, `test` and `predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lighter.cli.completion import of_checkpoints, of_inputs
from lighter.cli.launch import launch_of, of_stage, with_launch
from lighter.cli.options import EPILOG, as_json, together, with_safe_mode, with_traceback


def _stage(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, with the arguments and options of all four stages and some more."""
    decorate = together(
        click.argument("inputs", nargs=-1, metavar="INPUT...", shell_complete=of_inputs),
        click.option(
            "--ckpt_path",
            metavar="PATH|last|best",
            shell_complete=of_checkpoints,
            help="The checkpoint to start from; last and best: of the newest run.",
        ),
        with_traceback,
        click.option(
            "--weights_only/--no_weights_only", default=None, help="Load only weights and plain data (default)."
        ),
        with_safe_mode,
        as_json,
        with_launch,
        *options,
    )
    return lambda function: click.command(epilog=EPILOG)(decorate(function))


_verbose = click.option("--verbose/--no_verbose", default=False, help="Print Lightning's table of results too.")


@_stage(
    click.option(
        "--auto_resume/--no_auto_resume",
        default=None,
        help="Resume the newest fit of the same config, if it stopped before its end; otherwise start.",
    )
)
def fit(**options: Any) -> None:
    """Train, and validate while training. INPUT: config files, and overrides (key::path=value)."""
    _run("fit", options)


@_stage(_verbose)
def validate(**options: Any) -> None:
    """Evaluate on the validation data. INPUT: config files, and overrides (key::path=value)."""
    _run("validate", options)


@_stage(_verbose)
def test(**options: Any) -> None:
    """Evaluate on the test data. INPUT: config files, and overrides (key::path=value)."""
    _run("test", options)


@_stage(
    click.option(
        "--resume", metavar="RUN|last", help="Resume a stopped prediction: its folder, or last. Needs no INPUT."
    ),
    click.option("--return_predictions/--no_return_predictions", default=False, help="Keep all predictions in memory."),
)
def predict(**options: Any) -> None:
    """Predict. INPUT: config files, and overrides (key::path=value)."""
    _run("predict", options)


def _run(stage: str, options: dict[str, Any]) -> None:
    from lighter.cli.stage import run_stage

    inputs, traceback, _ = (options.pop(name) for name in ("inputs", "traceback", "as_json"))
    if not inputs and options.get("resume") is None:
        raise click.UsageError("Missing argument 'INPUT...'.", click.get_current_context())
    launch = launch_of(options, traceback=traceback)
    # An option that is not given leaves the default to the runner.
    chosen = {key: value for key, value in options.items() if value is not None}
    if launch is not None:
        raise SystemExit(of_stage(stage, list(inputs), chosen, launch))
    raise SystemExit(run_stage(stage, list(inputs), chosen, traceback=traceback))
