"""The `lighter` command. Each command imports what it needs when it runs; here is only click."""

from __future__ import annotations

import gc
import signal

import click

from lighter import __version__
from lighter.cli.check import check
from lighter.cli.compare import compare_command
from lighter.cli.completion import completion
from lighter.cli.convert import convert
from lighter.cli.experiments import experiment
from lighter.cli.export import export
from lighter.cli.init import init
from lighter.cli.json_output import Commands
from lighter.cli.lsp import lsp
from lighter.cli.mcp import mcp
from lighter.cli.options import EPILOG
from lighter.cli.report import report
from lighter.cli.reproduce import reproduce
from lighter.cli.resume import resume
from lighter.cli.runs import runs
from lighter.cli.schema import schema
from lighter.cli.show import show
from lighter.cli.stages import fit, predict, test, validate
from lighter.cli.summary import summary
from lighter.cli.sweep import sweep
from lighter.cli.try_ import try_command
from lighter.cli.tune import tune
from lighter.cli.why import why
from lighter.processes.signals import stop_signals

# Options may be written with `-` in place of `_`, as they are elsewhere.
_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("-", "_")}


_HEADINGS = {
    "Run a config": ("fit", "validate", "test", "predict", "sweep", "try", "resume", "reproduce"),
    "Look into a config": ("check", "show", "why", "summary", "tune"),
    "Look at results": ("runs", "experiment", "compare", "report", "export"),
    "Begin": ("init", "convert"),
    "Editors, shells and agents": ("schema", "lsp", "completion", "mcp"),
}


@click.group(cls=Commands, headings=_HEADINGS, context_settings=_SETTINGS, epilog=EPILOG)
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

    # Before any command imports Lightning.
    lightning_alias.install()


for _command in (fit, validate, test, predict, check, show, why, summary, tune, runs, resume, reproduce, export):
    cli.add_command(_command)
cli.add_command(experiment)
cli.add_command(sweep)
cli.add_command(init)
cli.add_command(convert)
cli.add_command(completion)
cli.add_command(compare_command)
cli.add_command(report)
cli.add_command(schema)
cli.add_command(try_command)
cli.add_command(mcp)
cli.add_command(lsp)


def main() -> None:
    """Run the console script. After a signal, the exit code of every command is 128 + its number."""
    try:
        with stop_signals():
            cli(prog_name="lighter")
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        gc.freeze()  # at its end Python would search all of torch and Lightning for garbage, for more than a second
