"""The `lighter` command. Each command imports what it needs when it runs; here is only click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lighter import __version__
from lighter.cli.again import reproduce, resume
from lighter.cli.runs import runs

_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("-", "_")}
_EPILOG = "Overrides: key::path=VALUE merges or sets, =key::path=VALUE replaces, ~key::path deletes; values are YAML."


@click.group(context_settings=_SETTINGS, epilog=_EPILOG)
@click.version_option(__version__, message="lighter %(version)s")
def cli() -> None:
    """Deep learning experiments as configuration, on PyTorch Lightning.

    \b
      lighter fit config.yaml
      lighter fit config.yaml model::optimizer::lr=0.01 trainer::max_epochs=5
      lighter test config.yaml --ckpt_path best
    """


def _stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """What all four stages take."""
    for decorate in (
        click.option(
            "--weights_only/--no_weights_only", default=None, help="Load only weights and plain data (default)."
        ),
        click.option(
            "--ckpt_path",
            metavar="PATH|last|best",
            help="The checkpoint to start from; last and best: of the newest run.",
        ),
        click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    ):
        function = decorate(function)
    return cli.command(epilog=_EPILOG)(function)


_verbose = click.option("--verbose/--no_verbose", default=False, help="Print Lightning's table of results too.")


@_stage
@click.option(
    "--auto_resume/--no_auto_resume",
    default=None,
    help="Go on with the newest fit of the same config, if it stopped before its end; otherwise start.",
)
def fit(**options: Any) -> None:
    """Train, and validate while training. INPUT: config files, and overrides (key::path=value)."""
    _run("fit", options)


@_stage
@_verbose
def validate(**options: Any) -> None:
    """Evaluate on the validation data. INPUT: config files, and overrides (key::path=value)."""
    _run("validate", options)


@_stage
@_verbose
def test(**options: Any) -> None:
    """Evaluate on the test data. INPUT: config files, and overrides (key::path=value)."""
    _run("test", options)


@_stage
@click.option("--return_predictions/--no_return_predictions", default=False, help="Keep all predictions in memory.")
def predict(**options: Any) -> None:
    """Predict. INPUT: config files, and overrides (key::path=value)."""
    _run("predict", options)


def _run(stage: str, options: dict[str, Any]) -> None:
    from lighter.cli.stage import run_stage

    inputs = options.pop("inputs")
    raise SystemExit(
        run_stage(stage, list(inputs), {key: value for key, value in options.items() if value is not None})
    )


cli.add_command(runs)
cli.add_command(resume)
cli.add_command(reproduce)


def main() -> None:
    """The console script."""
    cli(prog_name="lighter")
