"""The `lighter` command. Each command imports what it needs when it runs; here is only click."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from typing import Any

import click

from lighter import __version__
from lighter.cli.export import export
from lighter.cli.failures import with_traceback
from lighter.cli.resume import reproduce, resume
from lighter.cli.runs import runs
from lighter.cli.summary import summary
from lighter.cli.tune import tune
from lighter.processes.signals import stop_signals

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
      lighter check config.yaml
    """
    from lighter import lightning_alias

    lightning_alias.install()


_safe_mode = (
    click.option("--allow_project", metavar="FOLDER", help="Safe mode: import this folder as `project`."),
    click.option("--allow_root", metavar="FOLDER", multiple=True, help="Safe mode: files may be in this folder too."),
    click.option("--allow_file", metavar="FILE", multiple=True, help="Safe mode: a list of names that may be called."),
    click.option("--allow", metavar="NAME", multiple=True, help="Safe mode: package.module.Class may be called too."),
    click.option(
        "--safe", is_flag=True, help="A stranger's config: call only what is on a list. So is one from a URL."
    ),
)
_inputs = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


def _with_safe_mode(function: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in _safe_mode:
        function = decorate(function)
    return function


def _stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """What all four stages take."""
    for decorate in (
        _with_safe_mode,
        click.option(
            "--weights_only/--no_weights_only", default=None, help="Load only weights and plain data (default)."
        ),
        with_traceback,
        click.option(
            "--ckpt_path",
            metavar="PATH|last|best",
            help="The checkpoint to start from; last and best: of the newest run.",
        ),
        click.argument("inputs", nargs=-1, metavar="INPUT..."),
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
@click.option(
    "--resume", metavar="RUN|last", help="Go on with a stopped prediction: its folder, or last. Needs no INPUT."
)
@click.option("--return_predictions/--no_return_predictions", default=False, help="Keep all predictions in memory.")
def predict(**options: Any) -> None:
    """Predict. INPUT: config files, and overrides (key::path=value)."""
    _run("predict", options)


@cli.command(epilog=_EPILOG)
@_inputs
@click.option("--stage", metavar="STAGE", help="Only what this stage needs; otherwise the whole config, and fit.")
@click.option("--shape", is_flag=True, help="Only what can be told without importing anything: at once.")
@click.option("--json", "as_json", is_flag=True, help="For editors and CI.")
@click.option("--probe", is_flag=True, help="Then build everything and run one step; show the shapes. Writes nothing.")
@with_traceback
@_with_safe_mode
def check(**options: Any) -> None:
    """Find all that is wrong, without running anything. INPUT: config files, and overrides (key::path=value)."""
    from lighter.cli.check import run_check

    code = run_check(list(options.pop("inputs")), options.pop("stage"), options)
    gc.freeze()  # at the end of the process the collector would go through all of Lightning, for a second
    raise SystemExit(code)


@cli.command(epilog=_EPILOG)
@_inputs
@click.option("--origins", is_flag=True, help="Beside each value, where it was written.")
@click.option("--resolve", is_flag=True, help="Work out references to values, and expressions that only compute.")
def show(**options: Any) -> None:
    """Print the merged config as it will run. INPUT: config files, and overrides (key::path=value)."""
    from lighter.cli.show import run_show

    raise SystemExit(run_show(list(options.pop("inputs")), **options))


@cli.command(epilog=_EPILOG)
@click.argument("key", metavar="KEY")
@_inputs
def why(key: str, inputs: tuple[str, ...]) -> None:
    """Tell where the value at KEY (a::b::0) comes from. INPUT: config files, and overrides (key::path=value)."""
    from lighter.cli.why import run_why

    raise SystemExit(run_why(key, list(inputs)))


for _command in (summary, tune, runs, resume, reproduce, export):
    cli.add_command(_command)


def _run(stage: str, options: dict[str, Any]) -> None:
    from lighter.cli.stage import run_stage

    inputs, traceback = options.pop("inputs"), options.pop("traceback")
    if not inputs and options.get("resume") is None:
        raise click.UsageError("Missing argument 'INPUT...'.", click.get_current_context())
    given = {key: value for key, value in options.items() if value is not None}
    raise SystemExit(run_stage(stage, list(inputs), given, traceback=traceback))


def main() -> None:
    """The console script. After a signal, the exit code of every command is 128 + its number."""
    try:
        with stop_signals():
            cli(prog_name="lighter")
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
