"""`lighter tune lr` and `lighter tune batch-size`: the two values to set before a long run."""

from __future__ import annotations

from typing import Any

import click

from lighter.cli.failures import with_traceback

_inputs = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


@click.group()
def tune() -> None:
    """Look for a learning rate or a batch size. What is found is printed as an override; no file is changed."""


@tune.command()
@_inputs
@click.option("--min_lr", default=1e-8, show_default=True, help="The learning rate of the first step.")
@click.option("--max_lr", default=1.0, show_default=True, help="The learning rate of the last step.")
@click.option("--num_training", type=click.IntRange(min=20), default=100, show_default=True, help="How many steps.")
@click.option("--mode", type=click.Choice(["exponential", "linear"]), default="exponential", show_default=True)
@click.option(
    "--early_stop_threshold",
    default=4.0,
    show_default=True,
    help="Stop when the loss is this many times the lowest; 0: never.",
)
@with_traceback
def lr(inputs: tuple[str, ...], early_stop_threshold: float, traceback: bool, **options: Any) -> None:
    """Train some steps with a rising learning rate, and find where the loss falls most steeply.

    The curve is written to a folder of its own, as lr.csv and (with matplotlib) lr.png.
    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    options["early_stop_threshold"] = early_stop_threshold or None
    raise SystemExit(exit_code(lambda: _lr(inputs, options), traceback=traceback))


@tune.command("batch_size")
@_inputs
@click.option("--key", help="Where the config says the batch size, if it is not found.")
@click.option(
    "--mode",
    type=click.Choice(["power", "binsearch"]),
    default="power",
    show_default=True,
    help="power: doubles until memory does not suffice; binsearch: then looks between the last two.",
)
@click.option("--init_val", default=2, show_default=True, help="The first batch size.")
@click.option("--max_val", default=8192, show_default=True, help="The largest to try.")
@click.option("--steps_per_trial", default=3, show_default=True, help="How many training steps for each.")
@click.option("--max_trials", default=25, show_default=True, help="How many sizes.")
@with_traceback
def batch_size(inputs: tuple[str, ...], key: str | None, traceback: bool, **options: Any) -> None:
    """Train a few steps with larger and larger batches, and find the largest that fits into memory.

    For each trial the training data is built anew. Nothing is written.
    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    raise SystemExit(exit_code(lambda: _batch_size(inputs, key, options), traceback=traceback))


def _lr(inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    from lighter.engine.tuning import find_lr, plot

    found = find_lr(list(inputs), **options)
    picture = plot(found)
    _print("lr", f"{found.lr:.2g}")
    if found.key:
        _print("paste", f"{found.key}={found.lr:.2g}")
    else:
        _print("paste", "the config has no key for it: set it where the optimizer is made")
    _print("curve", found.folder.lr_curve)
    _print("plot", picture or "needs matplotlib: pip install matplotlib")


def _batch_size(inputs: tuple[str, ...], key: str | None, options: dict[str, Any]) -> None:
    from lighter.engine.tuning import find_batch_size

    found = find_batch_size(list(inputs), key, **options)
    _print("batch size", found.batch_size)
    _print("paste", f"{found.key}={found.batch_size}")
    if found.samples is not None and found.batch_size >= found.samples:
        _print("note", f"all {found.samples} samples fit into one batch: memory is no limit here")
    elif found.batch_size >= options["max_val"]:
        _print("note", "the search ends here (--max_val); half of it was tried, and fits")


def _print(label: str, value: Any) -> None:
    click.echo(f"{label:<12}{value}")
